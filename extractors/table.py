"""Features that exist already: a CSV or parquet file becomes a store."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError, did_you_mean
from extractors.contract import BadFeaturesError, Clip, Extractor, Features, MissingMediaError
from extractors.registry import EXTRACTORS
from extractors.weights import sha256

if TYPE_CHECKING:
    import pandas as pd

_EMPTY = ["", "NA", "N/A", "NaN", "nan", "null", "None"]


class TableError(AffectstackError):
    """A feature table that cannot be used for any clip."""


@EXTRACTORS.register("table")
class FeatureTable(Extractor):
    """Rows of a table, found by a key.

    One row per clip gives `[1, D]`; several rows of one key give a sequence `[T, D]` in the file's order.

    Args:
        path: The file: `.csv`, `.tsv`, `.txt` (comma, semicolon or tab) or `.parquet`.
        modality: What the features describe; decides which `extract` command runs them.
        key: The column that names the clip.
        key_pattern: A regular expression with one group that finds the clip id inside the key;
            None takes the whole key. Keys that do not match are other people's rows.
        columns: The feature columns by name or by pattern (`AU*_r`); None takes every numeric column but the
            key and the time columns.
        start: The column of a row's start in seconds; None: rows have no times of their own.
        end: The column of its end.
        valid: A column of 0/1 that marks usable rows; None: all are.
        trained_on: Subjects of this manifest that whatever made the features has seen.
    """

    # Any modality may come from a table; the experiment says which.
    modality = "au"
    reads_media = False

    def __init__(
        self,
        path: Path,
        modality: Literal["video", "audio", "au", "face", "text"] = "au",
        key: str = "clip_id",
        key_pattern: str | None = None,
        columns: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        valid: str | None = None,
        trained_on: Sequence[str] = (),
    ) -> None:
        if (start is None) != (end is None):
            raise TableError(f"features table {path.name}: name both `start` and `end`, or neither")
        self.path = path
        self.looks_up = path.name
        self.modality = modality  # type: ignore[misc]  # the one extractor whose modality is data
        self.key = key
        self.key_pattern = key_pattern
        self.columns = columns
        self.start = start
        self.end = end
        self.valid = valid
        self.trained_on = frozenset(trained_on)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The feature columns."""
        return tuple(self._names)

    def identity(self) -> dict[str, Any]:
        """The file by content, and which columns are read."""
        self._need_file()
        options = {k: getattr(self, k) for k in ("key", "key_pattern", "start", "end", "valid")}
        return {"table": self.path.name, "table_sha256": sha256(self.path), "columns": self._names, **options}

    def prepare(self) -> None:
        """Read the table."""
        _ = self._rows

    def extract(self, clip: Clip) -> Features:
        """Return the clip's rows."""
        rows = next((self._rows[name] for name in clip.names if name in self._rows), None)
        if rows is None:
            raise MissingMediaError(f"{self.path.name} has no row for it in column {self.key!r}")
        values = self._values[rows]
        if np.isnan(values).any():
            row, column = np.argwhere(np.isnan(values))[0]
            raise BadFeaturesError(f"{self.path.name}: column {self._names[column]!r} is empty in row {row}")
        valid = np.ones(len(rows), dtype=np.bool_)
        if self.valid is not None:
            valid = self._numbers([self.valid])[rows, 0] > 0
        return Features(values, self._intervals(rows, clip), valid)

    def _intervals(self, rows: NDArray[np.int64], clip: Clip) -> NDArray[np.float64]:
        if self.start is None or self.end is None:
            edges = np.linspace(clip.start or 0.0, clip.end or clip.start or 0.0, len(rows) + 1)
            return np.column_stack([edges[:-1], edges[1:]])
        return self._numbers([self.start, self.end])[rows]

    def _numbers(self, columns: list[str]) -> NDArray[np.float64]:
        try:
            return self._frame[columns].to_numpy(dtype=np.float64)
        except ValueError as error:
            names = " or ".join(map(repr, columns))
            raise TableError(
                f"features table {self.path.name}: column {names} holds a word ({error})"
            ) from error

    def _need_file(self) -> None:
        if not self.path.is_file():
            raise TableError(f"features table {self.path}: no such file; set the feature's `path`")

    @cached_property
    def _frame(self) -> "pd.DataFrame":
        import pandas as pd  # takes half a second

        self._need_file()
        try:
            if self.path.suffix == ".parquet":
                frame = pd.read_parquet(self.path)
            else:
                with self.path.open(encoding="utf-8-sig") as file:
                    separator = max(",;\t", key=file.readline().count)
                options: Any = {"sep": separator, "encoding": "utf-8-sig", "skipinitialspace": True}
                names = pd.read_csv(self.path, nrows=0, index_col=False, **options).columns
                # Keys are names: 007 and NA must stay what they are.
                empty = {name: _EMPTY for name in names if name.strip() != self.key}
                text = {name: str for name in names if name.strip() == self.key}
                frame = pd.read_csv(
                    self.path, index_col=False, dtype=text, na_values=empty, keep_default_na=False, **options
                )
        except (ValueError, OSError) as error:
            raise TableError(f"features table {self.path}: not readable ({error})") from error
        frame.columns = [str(c).strip() for c in frame.columns]
        for column in [self.key, *filter(None, (self.start, self.end, self.valid))]:
            if column not in frame:
                raise TableError(
                    f"features table {self.path.name}: no column {column!r}"
                    f"{did_you_mean(column, frame.columns)}"
                )
        return frame

    @cached_property
    def _names(self) -> list[str]:
        if self.columns is not None:
            return list(dict.fromkeys(name for wanted in self.columns for name in self._matching(wanted)))
        apart = {self.key, self.start, self.end, self.valid}
        numeric = self._frame.select_dtypes("number").columns
        names = [str(c) for c in numeric if c not in apart]
        if not names:
            raise TableError(f"features table {self.path.name}: no numeric column; name `columns`")
        return names

    def _matching(self, wanted: str) -> list[str]:
        if wanted in self._frame:
            return [wanted]
        found = [c for c in self._frame.columns if fnmatchcase(c, wanted)]
        if not found:
            raise TableError(
                f"features table {self.path.name}: no column {wanted!r}"
                f"{did_you_mean(wanted, self._frame.columns)}"
            )
        return found

    @cached_property
    def _values(self) -> NDArray[np.float32]:
        try:
            return self._frame[self._names].to_numpy(dtype=np.float32)
        except ValueError as error:
            raise TableError(f"features table {self.path.name}: a feature is no number ({error})") from error

    @cached_property
    def _rows(self) -> dict[str, NDArray[np.int64]]:
        """Row numbers by clip name."""
        import pandas as pd  # takes half a second

        keys = self._frame[self.key].astype(str).str.strip()
        if self.key_pattern is not None:
            try:
                pattern = re.compile(self.key_pattern)
            except re.error as error:
                raise TableError(f"key_pattern {self.key_pattern!r}: {error}") from error
            if pattern.groups != 1:
                raise TableError(f"key_pattern {self.key_pattern!r}: has {pattern.groups} groups; expected 1")
            matches = [pattern.fullmatch(k) for k in keys]
            keys = pd.Series([m[1] if m else "" for m in matches])
        found = {str(k): np.sort(rows) for k, rows in keys.groupby(keys).indices.items()}
        found.pop("", None)
        return found
