"""MSP-IMPROV: acted dialogues that were rated for arousal, valence and dominance.

Busso et al. 2017. A file name is `MSP-IMPROV-SnnE-Xnn-R-TTnn`: sentence (01 to 20) with the intended emotion
(A, H, S, N), speaker (F01 to F06, M01 to M06), recording scenario (R, S, T or P), turn. The speakers of one
number are the pair of one session.
"""

import re
from pathlib import Path

import pandas as pd

from manifests.consensus import NAME, SEX, SPEAKER, Row, read_consensus
from manifests.corpus import Corpus, Reading
from manifests.listing import Takes, takes_below
from manifests.manifest import Manifest

ATTRIBUTES = ("arousal", "valence", "dominance")
_SCORES = ("EmoAct", "EmoVal", "EmoDom")  # in the order of ATTRIBUTES
_LOWEST, _HIGHEST = 1, 5  # of the scores, which are means of five-point scales
_INTENDED = {"A": "angry", "H": "happy", "S": "sad", "N": "neutral"}
_SEX = {"F": "female", "M": "male"}
_FORM = re.compile(r"MSP-IMPROV-S[0-9]{2}[A-Z]-[A-Z][0-9]{2}-[A-Z]-[A-Z]{2}[0-9]{2}")
_CODE = re.compile(r"MSP-IMPROV-S(0[1-9]|1[0-9]|20)[AHSN]-[FM]0[1-6]-[RSTP]-[FM]{2}[0-9]{2}")


class MspImprov(Corpus):
    """MSP-IMPROV with the label files of VAVL; clips without labels are left out.

    A score x from 1 to 5 becomes (x - 1) / 4. `EmoAct` runs from active to calm, so that arousal comes of
    6 - x. It is reversed here, once and on a copy: VAVL reverses its array in place at every pass, so that
    the sign of its target alternates.

    Args:
        labels: A label file (`labels_consensus_1.csv`), or the folder of all.
        reverse_arousal: Reverse `EmoAct`; False takes it as it is.
    """

    def __init__(self, labels: Path, reverse_arousal: bool = True) -> None:
        self.labels = labels
        self.reverse_arousal = reverse_arousal

    def read(self, root: Path) -> Reading:
        """Read every labelled MSP-IMPROV file below `root`, in any folder layout."""
        takes = takes_below(root, "MSP-IMPROV", _place)
        if not takes.files:
            raise takes.none(root, "MSP-IMPROV files (names like MSP-IMPROV-S01A-F02-R-FF01.wav)")
        found = read_consensus(self.labels, _SCORES, _checked_clip)
        rows = [
            {**_row(clip, takes), **self._targets(found.clips[clip]), **found.sides_of(clip)}
            for clip in takes.labelled(found.clips)
        ]
        if not rows:
            raise takes.none(self.labels, f"labels of the clips below {root}")
        manifest = Manifest(pd.DataFrame(rows), source="MSP-IMPROV", root=root)
        reversed_ = "arousal is 6 - EmoAct, " if self.reverse_arousal else ""
        sides = found.notes([row["clip_id"] for row in rows])
        notes = [*takes.notes(), *sides, f"{reversed_}scores from 1 to 5 became 0 to 1"]
        return Reading(manifest, "", (), next(iter(found.sides)), notes, ATTRIBUTES)

    def _targets(self, row: Row) -> dict[str, str]:
        scores = {a: row.number(c, _LOWEST, _HIGHEST) for a, c in zip(ATTRIBUTES, _SCORES, strict=True)}
        return {
            name: repr(scaled(score, reverse=name == "arousal" and self.reverse_arousal))
            for name, score in scores.items()
        }


def scaled(score: float, *, reverse: bool = False) -> float:
    """Return a score from 1 to 5 as a number from 0 to 1: of 6 - score where it is reversed."""
    turned = _LOWEST + _HIGHEST - score if reverse else score
    return round((turned - _LOWEST) / (_HIGHEST - _LOWEST), 9)


def _place(path: Path) -> tuple[str, str] | str:
    if not _FORM.fullmatch(path.stem):
        return "media files without an MSP-IMPROV name"
    if not _CODE.fullmatch(path.stem):
        return "files whose name has a field outside the MSP-IMPROV code"
    return path.stem, path.suffix.lower()


def _checked_clip(row: Row) -> str:
    """Return the clip of a row whose name, speaker and scores are right."""
    if not _CODE.fullmatch(row.stem):
        raise row.error(NAME, "is no name of an MSP-IMPROV clip (like MSP-IMPROV-S01A-F02-R-FF01.wav)")
    speaker = row.stem.split("-")[3]
    if row.cells[SPEAKER].lstrip("0") != speaker[1:].lstrip("0"):
        raise row.error(SPEAKER, f"is not the speaker of {row.cells[NAME]}")
    if row.cells[SEX].lower() != _SEX[speaker[0]]:
        raise row.error(SEX, f"is not the sex of speaker {speaker}")
    for column in _SCORES:
        row.number(column, _LOWEST, _HIGHEST)
    return row.stem


def _row(clip: str, takes: Takes) -> dict[str, str]:
    _, _, sentence, speaker, scenario, turn = clip.split("-")
    return {
        "clip_id": clip,
        "subject": speaker,
        **takes.media(clip),
        "intended": _INTENDED[sentence[3]],
        "sentence": sentence[1:3],
        "scenario": scenario,
        "turn": turn,
        "session": speaker[2],
        "sex": _SEX[speaker[0]],
    }
