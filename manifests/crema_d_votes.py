"""What people heard and saw in the clips of CREMA-D: the votes that were published.

Two forms are known. The label files of VAVL (see `manifests.consensus`) hold smoothed shares: 0.01 + 0.94
times the share of the votes. The corpus's own `processedResults/tabulatedVotes.csv` counts the votes of those
who heard (rows from 100001), who saw (from 200001) and who heard and saw the clip (from 300001). The last are
read; VAVL's shares come from them too: 9 of 10 votes are 0.9 here and 0.856 there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from manifests.consensus import NAME, SPEAKER, Consensus, Row, read_consensus, rows_of
from manifests.manifest import read_text_table

EMOTIONS = ("angry", "sad", "disgust", "fear", "neutral", "happy")
_LETTERS = ("A", "S", "D", "F", "N", "H")  # of tabulatedVotes.csv, in the order of EMOTIONS
_TABULATED, _NUMBER, _AUDIO_VISUAL = "fileName", "", "3"
_TOLERANCE = 0.03  # of the sum of six shares that may be rounded to two places


@dataclass
class Votes:
    """The votes of clips.

    Attributes:
        shares: Of each clip, the share of each of `EMOTIONS`, as text.
        sides: What the label files say of partitions; nothing where the corpus's own table was read.
    """

    shares: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sides: Consensus = field(default_factory=Consensus)


def read_votes(labels: Path, clip_of: Callable[[str], str | None]) -> Votes:
    """Read votes of either form.

    Args:
        labels: A label file of VAVL, the folder of the five, or `tabulatedVotes.csv`.
        clip_of: Returns the clip that the name of a file means (without suffix), or None.

    Raises:
        ManifestError: If a file has another form, a row is wrong, or two files contradict each other.
    """
    if labels.is_file() and _TABULATED in read_text_table(labels):
        return _tabulated(labels, clip_of)

    def checked(row: Row) -> str:
        clip = _clip(row, NAME, row.stem, clip_of)
        if row.cells[SPEAKER] != clip[:4]:
            raise row.error(SPEAKER, f"is not the speaker of {row.cells[NAME]}")
        total = sum(row.number(emotion, 0, 1) for emotion in EMOTIONS)
        if abs(total - 1) > _TOLERANCE:
            raise row.error(NAME, f"has votes whose sum is {total:.6g}; expected shares whose sum is 1")
        return clip

    found = read_consensus(labels, EMOTIONS, checked)
    shares = {clip: tuple(row.cells[e] for e in EMOTIONS) for clip, row in found.clips.items()}
    return Votes(shares, found)


def winner(shares: tuple[str, ...]) -> str | None:
    """Return the emotion with most votes, or None where several have as many."""
    numbers = [float(share) for share in shares]
    most = max(numbers)
    return EMOTIONS[numbers.index(most)] if numbers.count(most) == 1 else None


def _tabulated(file: Path, clip_of: Callable[[str], str | None]) -> Votes:
    found = Votes()
    for row in rows_of(file, (_NUMBER, *_LETTERS, _TABULATED)):
        if not row.cells[_NUMBER].startswith(_AUDIO_VISUAL):
            continue
        clip = _clip(row, _TABULATED, row.cells[_TABULATED], clip_of)
        if clip in found.shares:
            raise row.error(_TABULATED, "is the clip of a line before")
        counts = [row.number(letter, 0, 1e6) for letter in _LETTERS]
        if not sum(counts):
            raise row.error(_TABULATED, "has no votes")
        found.shares[clip] = tuple(f"{count / sum(counts):.9g}" for count in counts)
    return found


def _clip(row: Row, column: str, name: str, clip_of: Callable[[str], str | None]) -> str:
    clip = clip_of(name)
    if clip is None:
        raise row.error(column, "is no name of a CREMA-D clip (like 1001_DFA_ANG_XX.wav)")
    return clip
