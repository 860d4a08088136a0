"""Label files as the authors of VAVL publish them: what people said of clips, and who is on which side.

Goncalves et al., arXiv 2305.07216, github.com/ilucasgoncalves/VAVL: one file per partition of the speakers,
all with the same labels. A row has the clip's file name, its labels, the speaker's number (`SpkrID`) and sex
(`Gender`), and the speaker's side (`Split_Set`: Train, Development or Test).
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from affectstack import did_you_mean
from manifests.fold_columns import side_of
from manifests.manifest import ManifestError, read_text_table

_FILE = re.compile(r"labels?_consensus_([0-9])\.csv")
NAME, SPEAKER, SEX, SIDE = "FileName", "SpkrID", "Gender", "Split_Set"


@dataclass(frozen=True)
class Row:
    """A row of a label file.

    Attributes:
        file: Its file.
        line: Its line there.
        cells: What stands in it, by column.
    """

    file: str
    line: int
    cells: dict[str, str]

    @property
    def stem(self) -> str:
        """The name of the clip's file, without its suffix."""
        return PurePosixPath(self.cells[NAME]).stem

    def error(self, column: str, text: str) -> ManifestError:
        """Return an error that names the file, the line and the cell."""
        return ManifestError(
            f"{self.file}: line {self.line}, column {column!r}: {self.cells[column]!r} {text}"
        )

    def number(self, column: str, low: float, high: float) -> float:
        """Return a number.

        Raises:
            ManifestError: If the cell holds none of this range.
        """
        try:
            value = float(self.cells[column])
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise self.error(column, f"is no number from {low:g} to {high:g}")
        return value


@dataclass
class Consensus:
    """What label files say.

    Attributes:
        clips: The first row of each clip.
        sides: Of each partition, the side of each clip, by the name of the column that it becomes.
    """

    clips: dict[str, Row] = field(default_factory=dict)
    sides: dict[str, dict[str, str]] = field(default_factory=dict)

    def sides_of(self, clip: str) -> dict[str, str]:
        """Return the side of a clip in every partition; empty where a file does not list it."""
        return {column: sides.get(clip, "") for column, sides in self.sides.items()}

    def notes(self, clips: Collection[str]) -> list[str]:
        """Say of how many clips a file does not say the side."""
        absent = {column: len(set(clips).difference(sides)) for column, sides in self.sides.items()}
        return [f"{column} is empty where its file lacks the clip: {n}" for column, n in absent.items() if n]


def label_files(labels: Path) -> list[Path]:
    """Return a label file, or those that a folder holds, in the order of their numbers.

    Raises:
        ManifestError: If the folder holds none.
    """
    if not labels.is_dir():
        return [labels]
    found = sorted((p for p in labels.iterdir() if _FILE.fullmatch(p.name)), key=lambda p: p.stem[-1])
    if not found:
        raise ManifestError(
            f"{labels}: no label files in this folder (names like label_consensus_1.csv); give the folder "
            "that holds them, or one file, with --labels"
        )
    return found


def rows_of(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a table, of some columns.

    Raises:
        ManifestError: If it is no table, or lacks a column or rows.
    """
    frame = read_text_table(file)
    for column in columns:
        if column not in frame:
            raise ManifestError(
                f"{file.name}: missing column {column!r}{did_you_mean(column, frame.columns)}"
            )
    if frame.empty:
        raise ManifestError(f"{file.name}: no rows; expected one row per clip")
    cells = zip(frame.attrs["lines"], frame[list(columns)].to_numpy().tolist(), strict=True)
    for line, row in cells:
        yield Row(file.name, line, {c: cell.strip() for c, cell in zip(columns, row, strict=True)})


def read_consensus(labels: Path, columns: Sequence[str], clip_of: Callable[[Row], str]) -> Consensus:
    """Read label files, which must agree.

    Args:
        labels: A file, or the folder of several.
        columns: The columns of labels; they hold numbers.
        clip_of: Returns the clip of a row, or raises what is wrong with the row.

    Returns:
        What they say. A file's partition is called by the number that ends its name: `partition1`, or
        `partition` where it has none.

    Raises:
        ManifestError: If a file is no such table, lists a clip twice or a row is wrong, or if two files
            give a clip different labels.
    """
    found = Consensus()
    for file in label_files(labels):
        numbered = _FILE.fullmatch(file.name)
        column = f"partition{numbered[1] if numbered else ''}"
        if column in found.sides:
            raise ManifestError(
                f"{file}: another file of this folder is of the same number; keep one of them"
            )
        sides = found.sides.setdefault(column, {})
        lines: dict[str, int] = {}
        for row in rows_of(file, (NAME, *columns, SPEAKER, SEX, SIDE)):
            clip = clip_of(row)
            if clip in lines:
                raise row.error(NAME, f"is the clip of line {lines[clip]} again")
            lines[clip] = row.line
            sides[clip] = _side(row)
            _refuse_difference(found.clips.setdefault(clip, row), row, columns)
    return found


def _side(row: Row) -> str:
    side = side_of(row.cells[SIDE])
    if side is None:
        raise row.error(SIDE, "is none of Train, Development and Test")
    return side


def _refuse_difference(first: Row, row: Row, columns: Sequence[str]) -> None:
    for column in columns:
        if float(first.cells[column]) != float(row.cells[column]):
            raise row.error(
                column,
                f"differs from {first.cells[column]!r} of that clip in line {first.line} of {first.file}; "
                "correct the files, or give one of them with --labels",
            )
