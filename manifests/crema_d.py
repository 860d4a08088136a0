"""CREMA-D: the crowd-sourced emotional multimodal actors dataset.

Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244. A file name is `AAAA_SSS_EEE_LL`: actor (1001 to 1091),
sentence, intended emotion, level of the emotion. Sound lies in `AudioWAV` and `AudioMP3`, pictures with sound
in `VideoFlash`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from manifests.corpus import Corpus, Reading
from manifests.crema_d_votes import EMOTIONS, Votes, read_votes, winner
from manifests.listing import Takes, takes_below
from manifests.manifest import Manifest

_INTENDED = {
    "ANG": "angry",
    "SAD": "sad",
    "DIS": "disgust",
    "FEA": "fear",
    "NEU": "neutral",
    "HAP": "happy",
}
_SENTENCES = frozenset(("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"))
_LEVEL = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
_STEM = re.compile(r"([0-9]{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})")


class CremaD(Corpus):
    """CREMA-D, as published or as far as it is there.

    Without labels a clip's emotion is the one that its actor was asked for. With labels it is the one with
    most votes of people who heard and saw the clip; clips without votes, or without a single winner, are left
    out. The votes stand in the columns `votes:angry` and so on, the sides of published partitions in
    `partition1` and so on.

    Args:
        labels: A label file of VAVL or the folder of its five, or the corpus's own `tabulatedVotes.csv`.
    """

    def __init__(self, labels: Path | None = None) -> None:
        self.labels = labels

    def read(self, root: Path) -> Reading:
        """Read every CREMA-D file below `root`, in any folder layout."""
        takes = takes_below(root, "CREMA-D", _place)
        if not takes.files:
            raise takes.none(root, "CREMA-D files (names like 1001_DFA_ANG_XX.wav)")
        folds: str | dict[str, object] = {"by": "subject", "k": 5, "seed": 0}
        notes: list[str] = []
        if self.labels is None:
            rows = [_row(clip, takes) for clip in sorted(takes.files)]
        else:
            votes = read_votes(self.labels, clip_of)
            rows = list(_voted(takes, votes))
            if not rows:
                raise takes.none(self.labels, f"votes with a winner for the clips below {root}")
            folds = next(iter(votes.sides.sides), folds)
            notes = votes.sides.notes([row["clip_id"] for row in rows])
        manifest = Manifest(pd.DataFrame(rows), source="CREMA-D", root=root)
        return Reading(manifest, "emotion", EMOTIONS, folds, [*takes.notes(), *notes])


def clip_of(stem: str) -> str | None:
    """Return the clip that a file's name (without suffix) means, or None if it is outside the code.

    The sound of one clip is published as `1040_ITH_SAD_X`, which means `1040_ITH_SAD_XX`.
    """
    fields = _STEM.fullmatch(stem)
    if fields is None:
        return None
    actor, sentence, intended, level = fields.groups()
    level = "XX" if level == "X" else level
    known = (
        1001 <= int(actor) <= 1091 and sentence in _SENTENCES and intended in _INTENDED and level in _LEVEL
    )
    return f"{actor}_{sentence}_{intended}_{level}" if known else None


def _place(path: Path) -> tuple[str, str] | str:
    if not _STEM.fullmatch(path.stem):
        return "media files without a CREMA-D name"
    clip = clip_of(path.stem)
    return (clip, path.suffix.lower()) if clip else "files whose name has a field outside the CREMA-D code"


def _row(clip: str, takes: Takes) -> dict[str, str]:
    actor, sentence, intended, level = clip.split("_")
    return {
        "clip_id": clip,
        "subject": actor,
        **takes.media(clip),
        "emotion": _INTENDED[intended],
        "intended": _INTENDED[intended],
        "level": _LEVEL[level],
        "sentence": sentence,
    }


def _voted(takes: Takes, votes: Votes) -> Iterator[dict[str, str]]:
    """Yield the clips whose votes have a single winner, labelled by it."""
    for clip in takes.labelled(votes.shares):
        shares = votes.shares[clip]
        won = winner(shares)
        if won is None:
            takes.left_out["clips whose votes have no single winner"] += 1
            continue
        columns = {f"votes:{e}": share for e, share in zip(EMOTIONS, shares, strict=True)}
        yield {**_row(clip, takes), "emotion": won, **columns, **votes.sides.sides_of(clip)}
