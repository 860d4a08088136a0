"""Posteriors as other people's programs write them, small and made up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifests import Manifest, make_folds
from manifests.ravdess import EMOTIONS
from pipeline.protocol import Protocol

ALPHABETICAL = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
SUBJECTS = ("01", "02", "03", "04")
# Folds hold out 01 and 02, then 03 and 04.
TESTED = (("01", "02"), ("03", "04"))


def takes(subjects: Sequence[str] = SUBJECTS) -> list[str]:
    return [f"01-{e:02d}-01-01-01-{s}" for s in subjects for e in range(1, 9)]


def protocol() -> Protocol:
    frame = pd.DataFrame({"clip_id": takes()})
    frame["subject"] = frame["clip_id"].str[-2:]
    frame["emotion"] = [EMOTIONS[int(c[3:5]) - 1] for c in frame["clip_id"]]
    frame["held"] = [str(int(s in TESTED[1])) for s in frame["subject"]]
    manifest = Manifest(frame)
    return Protocol.from_manifest(manifest, "emotion", EMOTIONS, make_folds("held", manifest, 2))


def logits(clips: Sequence[str], order: Sequence[str]) -> NDArray[np.float64]:
    """Return logits that name every clip's emotion, 3 where it is and its subject's number elsewhere."""
    truth = [EMOTIONS[int(c[3:5]) - 1] for c in clips]
    return np.array(
        [
            [3.0 if name == t else -int(c[-2:]) / 10 for name in order]
            for c, t in zip(clips, truth, strict=True)
        ]
    )


def sides(fold: int) -> dict[str, list[str]]:
    train = [s for s in SUBJECTS if s not in TESTED[fold]]
    return {"test": takes(TESTED[fold])[::-1], "train": takes(train)}


def write_wav2vec2(folder: Path) -> Path:
    words = {"fearful": "Fear", "surprised": "Surprise"}
    for fold in range(2):
        for split, clips in sides(fold).items():
            table = pd.DataFrame(logits(clips, ALPHABETICAL), columns=[f"embs{i}" for i in range(8)])
            table["name"] = [f"01-{c}" for c in clips]
            emotions = [EMOTIONS[int(c[3:5]) - 1] for c in clips]
            table["emotion"] = [words.get(e, e.capitalize()) for e in emotions]
            table["actor"] = [int(c[-2:]) for c in clips]
            path = folder / "run1" / f"fold{fold}" / f"posteriors_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(path, sep=";", index=False)
    return folder


def write_static(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for fold in range(2):
        for split, clips in sides(fold).items():
            values = np.exp(logits(clips, EMOTIONS))
            values /= values.sum(axis=1, keepdims=True)
            table = pd.DataFrame(values, columns=[f"embs{i}" for i in range(8)])
            table["video_name"] = [f"01-{c}" for c in clips]
            table.to_csv(folder / f"{split}_fold{fold}.csv", sep=";", index=False)
    return folder


def write_bilstm(folder: Path, y: str = "number") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for fold in range(2):
        for split, clips in sides(fold).items():
            side = "val" if split == "test" else "train"
            stem = f"RAVDESS_AUs-{side}--fold_{fold + 1}_outof_5"
            emotions = [EMOTIONS[int(c[3:5]) - 1] for c in clips]
            rows = {
                "tag": [f"01-{c}.csv" for c in clips],
                "y": [str(ALPHABETICAL.index(e)) if y == "number" else e for e in emotions],
                "y_hat": [str(ALPHABETICAL.index(e)) for e in emotions],
                "posteriors": [str(row.tolist()) for row in logits(clips, ALPHABETICAL)],
                "attentions": ["[0.25, 7.5e-01]"] * len(clips),
            }
            pd.DataFrame(rows).to_csv(folder / f"{stem}.csv", sep="\t", index=False)
            (folder / f"{stem}-posteriors.csv").write_text("1,2\n", encoding="utf-8")
    return folder


def write_named(path: Path, columns: Sequence[str], clips: Sequence[str] | None = None) -> pd.DataFrame:
    """Write one table of probabilities with named columns; return it as well."""
    clips = takes() if clips is None else clips
    values = np.exp(logits(clips, [c.lower() for c in columns]))
    table = pd.DataFrame(values / values.sum(axis=1, keepdims=True), columns=list(columns))
    table.insert(0, "clip_id", clips)
    table.to_csv(path, index=False)
    return table
