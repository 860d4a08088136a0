"""The manifest: one validated row per take, and per camera of it."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affectstack import did_you_mean
from affectstack.hashing import clip_sha256
from manifests.paths import path_problem
from manifests.problems import ManifestError, Problem, disagreements, raise_if, twins

if TYPE_CHECKING:
    import datasets

MEDIA_COLUMNS = ("video", "audio", "text")
_REQUIRED = ("clip_id", "subject")
_OPTIONAL = ("view", *MEDIA_COLUMNS, "start", "end", "sha256", "duration")
_SECONDS = ("start", "end", "duration")
VOTES = "votes:"
_CLIP_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Manifest:
    """A validated table of clips.

    Columns: `clip_id` (unique together with `view`), `subject`, the media columns `video`, `audio`,
    `text` (paths relative to the corpus root, empty where absent; an empty `audio` means the sound
    of `video`), `start` and `end` in seconds (NaN: the whole file), `view`, `sha256`, `duration` in
    seconds, then labels and whatever else the corpus knows.

    Args:
        frame: The rows. Text columns may hold None or NaN for "empty".
        source: What error messages call the table, usually its file name.
        root: The corpus root; when given, links that leave it are errors too.

    Raises:
        ManifestError: If a column is missing or a row breaks a rule.
    """

    def __init__(self, frame: pd.DataFrame, *, source: str = "manifest", root: Path | None = None) -> None:
        self.source = source
        # The line of each row in its file; blank lines and long cells shift them.
        lines = frame.attrs.get("lines", ())
        self._lines = list(lines) if len(lines) == len(frame) else list(range(2, len(frame) + 2))
        _require_columns(frame, source)
        self.frame = _normalise(frame, source, self._lines)
        raise_if(list(_problems(self.frame, root, self._lines)), source)

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def read_csv(cls, path: Path, root: Path | None = None) -> "Manifest":
        """Read and validate a CSV file (UTF-8; separated by comma, semicolon or tab).

        Raises:
            ManifestError: If the file is absent, unreadable or breaks a rule.
        """
        return cls(read_text_table(path), source=path.name, root=root)

    def write_csv(self, path: Path) -> None:
        """Write the table as UTF-8 CSV with LF line ends; reading it back gives an equal table."""
        self.frame.to_csv(path, index=False, lineterminator="\n")

    def labels(self, column: str, classes: Sequence[str] | None = None) -> pd.Series:
        """Return one label per clip.

        Args:
            column: The label column.
            classes: The names that may occur; None allows any but the empty one.

        Returns:
            The labels indexed by `clip_id`, one entry per take.

        Raises:
            ManifestError: If the column is absent or a label is empty, unknown, or differs between
                two views of one take.
        """
        if column not in self.frame:
            raise ManifestError(
                f"{self.source}: no label column {column!r}{did_you_mean(column, self.frame.columns)}"
            )
        values = self.frame[column].astype(str)
        problems = [
            Problem(line, column, value, _label_problem(value, classes))
            for line, value in zip(self._lines, values, strict=True)
            if not value or (classes is not None and value not in classes)
        ]
        problems += disagreements(self.frame, column, self._lines)
        raise_if(problems, self.source)
        takes = self.frame.drop_duplicates("clip_id")
        return pd.Series(takes[column].astype(str).to_numpy(), index=takes["clip_id"].to_numpy())

    def shares(self, clips: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
        """Return what share of votes each class got, in the columns `votes:<class>`.

        Args:
            clips: `[N]`.
            classes: `[K]`.

        Returns:
            `[N, K]`; rows sum to 1, or are NaN of clips whose cells are all empty and of strangers.

        Raises:
            ManifestError: If a column is absent, or a clip's cells are no shares.
        """
        columns = [f"{VOTES}{name}" for name in classes]
        if absent := [c for c in columns if c not in self.frame]:
            raise ManifestError(f"{self.source}: no column {absent[0]!r} of votes; soft labels need them")
        for column in columns:
            raise_if(disagreements(self.frame, column, self._lines), self.source)
        found = self.frame[columns].replace("", "nan")
        takes = pd.Series(range(len(found)), index=self.frame["clip_id"]).groupby(level=0).first()
        problems, values = [], np.full((len(found), len(columns)), np.nan)
        for i, (line, row) in enumerate(zip(self._lines, found.to_numpy(), strict=True)):
            try:
                values[i] = row.astype(np.float64)
            except ValueError:
                problems.append(Problem(line, columns[0], list(row), "are not all numbers"))
                continue
            given = values[i][~np.isnan(values[i])]
            if len(given) and (len(given) < len(columns) or given.min() < 0 or not 0 < given.sum() < np.inf):
                problems.append(Problem(line, columns[0], list(row), "are no shares of votes"))
        raise_if(problems, self.source)
        chosen = np.full((len(clips), len(columns)), np.nan)
        known = [i for i, clip in enumerate(clips) if clip in takes.index]
        chosen[known] = values[takes.loc[[clips[i] for i in known]].to_numpy()]
        return chosen / chosen.sum(axis=1, keepdims=True)

    def by_label(self, columns: Sequence[str]) -> "tuple[Manifest, Manifest | None]":
        """Return the clips that have a label and those that have none, None if all have one.

        Args:
            columns: The label column, or those of attributes; a clip has a label if no cell is empty.

        Raises:
            ManifestError: If a column is absent, no clip has a label, or views of a take disagree.
        """
        there = np.ones(len(self.frame), dtype=np.bool_)
        for column in columns:
            if column not in self.frame:
                self.labels(column)
            raise_if(disagreements(self.frame, column, self._lines), self.source)
            there &= (self.frame[column].astype(str) != "").to_numpy()
        if not there.any():
            named = ", ".join(map(repr, columns))
            raise ManifestError(f"{self.source}: no clip has a label in column {named}")
        return self._only(there), None if there.all() else self._only(~there)

    def values(self, columns: Sequence[str], *, partial: bool = False) -> pd.DataFrame:
        """Return the numbers of some columns, one row per clip, read anew each time.

        Args:
            columns: The attributes, such as arousal and valence.
            partial: Take an empty cell for a value that nobody gave.

        Returns:
            `[N, A]` float64 indexed by `clip_id`, one row per take, in the order of `columns`; NaN where
            `partial` lets a value be absent.

        Raises:
            ManifestError: If a column is absent, or a value is empty, no finite number, or differs between
                two views of one take.
        """
        if absent := [c for c in columns if c not in self.frame]:
            raise ManifestError(
                f"{self.source}: no column {absent[0]!r} with values of an attribute"
                f"{did_you_mean(absent[0], self.frame.columns)}"
            )
        problems: list[Problem] = []
        numbers = {c: self._numbers(c, partial, problems) for c in columns}
        raise_if(problems, self.source)
        frame = pd.DataFrame({"clip_id": self.frame["clip_id"], **numbers})
        for column in columns:  # as numbers: 0.5 and 0.50 agree
            problems += disagreements(frame, column, self._lines)
        raise_if(problems, self.source)
        takes = frame.drop_duplicates("clip_id")
        return takes[list(columns)].set_index(takes["clip_id"].to_numpy())

    def _numbers(self, column: str, partial: bool, problems: list[Problem]) -> NDArray[np.float64]:
        """Return a column as numbers, and add what is wrong with it to the problems."""
        found = np.full(len(self.frame), np.nan)
        for i, (line, cell) in enumerate(zip(self._lines, self.frame[column], strict=True)):
            text = "" if pd.isna(cell) else str(cell)
            if text:
                found[i] = _number(text)
            if not np.isfinite(found[i]) and (text or not partial):
                why = "is no finite number" if text else "is empty; every clip needs a value"
                problems.append(Problem(line, column, text, why))
        return found

    def without(self, column: str, labels: Sequence[str]) -> "Manifest":
        """Return a copy without the clips of some labels.

        Raises:
            ManifestError: If the column is absent, a label is nobody's, or no clip is left.
        """
        known = sorted(set(self.labels(column)))
        if strangers := [label for label in labels if label not in known]:
            raise ManifestError(
                f"{self.source}: no clip has {column} {strangers[0]!r}{did_you_mean(strangers[0], known)}"
            )
        kept = (~self.frame[column].astype(str).isin(list(labels))).to_numpy()
        if not kept.any():
            raise ManifestError(f"{self.source}: without {', '.join(map(repr, labels))} no clip is left")
        return self._only(kept)

    def _only(self, kept: NDArray[np.bool_]) -> "Manifest":
        frame = self.frame[kept].copy()
        frame.attrs["lines"] = [line for line, keep in zip(self._lines, kept, strict=True) if keep]
        return Manifest(frame, source=self.source)

    def subjects(self) -> pd.Series:
        """Return the subject of every take, indexed by `clip_id`."""
        takes = self.frame.drop_duplicates("clip_id")
        return pd.Series(takes["subject"].to_numpy(), index=takes["clip_id"].to_numpy())

    def with_hashes(self, root: Path) -> "Manifest":
        """Return a copy whose `sha256` column is computed from the files that exist."""
        media = self.frame[list(MEDIA_COLUMNS)].to_dict("records")
        return self.with_column(
            "sha256", [clip_sha256([root / row[c] for c in MEDIA_COLUMNS if row[c]]) for row in media]
        )

    def with_column(self, name: str, values: Sequence[Any]) -> "Manifest":
        """Return a copy in which a column has other values, one per row."""
        frame = self.frame.assign(**{name: values})
        frame.attrs["lines"] = self._lines
        return Manifest(frame, source=self.source)

    def to_dataset(self, root: Path, label: str, classes: Sequence[str] | None = None) -> "datasets.Dataset":
        """Convert to a Hugging Face dataset.

        Args:
            root: The corpus root; media columns become absolute paths.
            label: The label column; it becomes a `ClassLabel`.
            classes: The class order; None sorts the names found.

        Returns:
            A `datasets.Dataset` with one row per manifest row. `audio` and `video` are typed `Audio`
            and `Video` with `decode=False`: `{"path": ..., "bytes": None}`.
        """
        import datasets

        self.labels(label, classes)
        names = list(classes) if classes is not None else sorted(set(self.frame[label]))
        columns: dict[str, Any] = {}
        for name in self.frame.columns:
            values = self.frame[name].tolist()
            if name in MEDIA_COLUMNS:
                values = [str((root / v).resolve()) if v else None for v in values]
            elif name in _SECONDS:
                values = [None if np.isnan(v) else float(v) for v in values]
            columns[name] = values
        text, number = datasets.Value("string"), datasets.Value("float64")
        kinds: dict[str, Any] = {c: number if c in _SECONDS else text for c in columns}
        kinds[label] = datasets.ClassLabel(names=names)
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
        # Casting path strings needs no decoder; building the typed columns from rows would.
        table = table.cast_column("audio", datasets.Audio(decode=False))
        return table.cast_column("video", datasets.Video(decode=False))


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a delimited UTF-8 file as text, finding out the separator from its header.

    Returns:
        A table of strings; `attrs["lines"]` holds the line of each row.

    Raises:
        ManifestError: If the file is absent, empty, not UTF-8, or has rows of unequal length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header_line = next((line for line in file if line.strip()), "")
            separator = max(",;\t", key=header_line.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise ManifestError(f"{path}: cannot read it ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not a UTF-8 text file; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ManifestError(f"{path}: not a regular table: {error}") from error
    if not rows:
        raise ManifestError(f"{path}: no header line; expected a CSV table with column names")
    header = [cell.strip() for cell in rows[0][1]]
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise ManifestError(
                f"{path}: line {line} has {len(row)} cells, the header has {len(header)}; "
                "quote cells that hold the separator"
            )
    frame = pd.DataFrame([row for _, row in rows[1:]], columns=pd.Index(header), dtype=object)
    _refuse_twice(frame, path.name)
    frame.attrs["lines"] = [line for line, _ in rows[1:]]
    return frame


def _require_columns(frame: pd.DataFrame, source: str) -> None:
    missing = [c for c in _REQUIRED if c not in frame]
    if missing:
        raise ManifestError(
            f"{source}: missing column {', '.join(map(repr, missing))}; "
            f"found {', '.join(map(repr, frame.columns)) or 'none'}"
        )
    _refuse_twice(frame, source)
    if frame.empty:
        raise ManifestError(f"{source}: no rows; expected one row per clip")


def _refuse_twice(frame: pd.DataFrame, source: str) -> None:
    twice = sorted({str(c) for c in frame.columns[frame.columns.duplicated()]})
    if twice:
        raise ManifestError(f"{source}: column {', '.join(map(repr, twice))} occurs twice")


def _normalise(frame: pd.DataFrame, source: str, lines: Sequence[int]) -> pd.DataFrame:
    """Give every column its type and the known columns their order."""
    columns: dict[str, Any] = {}
    problems = []
    for name in dict.fromkeys([*_REQUIRED, *_OPTIONAL, *frame.columns]):
        raw = frame[name].tolist() if name in frame else [""] * len(frame)
        text = ["" if pd.isna(v) else str(v).strip() for v in raw]
        problems += [
            Problem(line, str(name), v, "holds a line break")
            for line, v in zip(lines, text, strict=True)
            if "\n" in v or "\r" in v
        ]
        if name not in _SECONDS:
            columns[name] = pd.Series(text, dtype=object)
            continue
        seconds = np.full(len(text), np.nan)
        for i, value in enumerate(text):
            try:
                seconds[i] = float(value) if value else np.nan
            except ValueError:
                problems.append(Problem(lines[i], name, value, "is not a number of seconds"))
        columns[name] = seconds
    raise_if(problems, source)
    return pd.DataFrame(columns)


def _problems(frame: pd.DataFrame, root: Path | None, lines: Sequence[int]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], int] = {}
    for line, row in zip(lines, frame.to_dict("records"), strict=True):
        clip, view = row["clip_id"], row["view"]
        if not _CLIP_ID.fullmatch(clip) or not clip.strip("."):
            yield Problem(line, "clip_id", clip, "is not 1 to 128 of A-Z a-z 0-9 . _ -")
        if (first := seen.setdefault((clip, view), line)) != line:
            where = f" with view {view!r}" if view else ""
            yield Problem(line, "clip_id", clip, f"is a duplicate of line {first}{where}")
        if not row["subject"]:
            yield Problem(line, "subject", "", "is empty; folds are made by subject")
        for column in MEDIA_COLUMNS:
            if row[column] and (text := path_problem(row[column], root)):
                yield Problem(line, column, row[column], text)
        yield from _time_problems(line, row)
    yield from disagreements(frame, "subject", lines)
    for column in ("clip_id", "subject", *MEDIA_COLUMNS):
        yield from twins(frame, column, lines)


def _time_problems(line: int, row: dict[Any, Any]) -> Iterator[Problem]:
    for column in _SECONDS:
        if not np.isnan(row[column]) and not 0 <= row[column] < np.inf:
            yield Problem(line, column, row[column], "is not a time of 0 seconds or more")
    if row["end"] <= (0.0 if np.isnan(row["start"]) else row["start"]):
        yield Problem(line, "end", row["end"], "is not after the start")


def _number(text: str) -> float:
    """Return the number that a cell holds, NaN if it holds none."""
    try:
        return np.nan if "_" in text else float(text)  # Python takes 1_000 for a number, people do not
    except ValueError:
        return np.nan


def _label_problem(value: str, classes: Sequence[str] | None) -> str:
    if not value:
        return "is empty; every clip needs a label (`unlabelled: keep` in the experiment lets some have none)"
    return f"is an unknown label{did_you_mean(value, classes or [])}"
