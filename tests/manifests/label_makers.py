"""Corpora without sound and their label files, made by the tests."""

from collections.abc import Sequence
from pathlib import Path

CREMA_HEADER = "FileName,angry,sad,disgust,fear,neutral,happy,SpkrID,Gender,Split_Set"
MSP_HEADER = "FileName,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"

# Rows of label_consensus_1.csv (VAVL) as published.
CREMA_ROWS = (
    "1026_IEO_ANG_HI.wav,0.856,0.01,0.01,0.104,0.01,0.01,1026,Male,Train",
    "1011_TAI_DIS_XX.wav,0.01,0.104,0.762,0.01,0.104,0.01,1011,Male,Test",
    "1007_IOM_HAP_XX.wav,0.01,0.01,0.01,0.01,0.01,0.95,1007,Female,Development",
    "1038_MTI_SAD_XX.wav,0.01,0.668,0.01,0.198,0.104,0.01,1038,Male,Development",
    "1066_MTI_ANG_XX.wav,0.532222222,0.01,0.114444444,0.114444444,0.218888889,0.01,1066,Male,Test",
)
# Rows of labels_consensus_1.csv (VAVL) as published.
MSP_ROWS = (
    "MSP-IMPROV-S15H-M06-S-MF03.wav,2.857143,3.428571,3.857143,6,Male,Train",
    "MSP-IMPROV-S15N-F02-P-MF02.wav,4,5,4,2,Female,Train",
    "MSP-IMPROV-S15N-F04-T-FM01.wav,2.53125,3.5,2.6875,4,Female,Development",
    "MSP-IMPROV-S15N-M05-S-FM01.wav,1.5,3.166667,2.666667,5,Male,Test",
    "MSP-IMPROV-S15S-M02-S-MF02.wav,1.2,2.8,2.2,2,Male,Train",
)


def names(rows: Sequence[str]) -> list[str]:
    """Return the names of the files that rows are about."""
    return [row.split(",")[0] for row in rows]


def touch(root: Path, *paths: str) -> Path:
    """Make empty files below a folder."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def table(path: Path, header: str, rows: Sequence[str]) -> Path:
    """Write a CSV table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path
