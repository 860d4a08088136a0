"""Features as ActionFormer reads them: rows at equal steps, times counted in frames.

Its loaders turn a time of t seconds into a place between rows: `(t * fps - num_frames / 2) / feat_stride`
(happyharrycn/actionformer_release, `libs/datasets/thumos14.py`). So row i is centred on
`(i * feat_stride + num_frames / 2) / fps` seconds after the beginning of the first window.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectstack import AffectstackError
from extractors import Features

_TOLERANCE = 0.1  # of a step; time stamps in whole milliseconds are off by 3 % at 60 frames per second


class TimeGridError(AffectstackError):
    """Rows that are not at equal steps."""


@dataclass(frozen=True)
class Grid:
    """Where the rows of one clip lie on the media's clock, in seconds.

    Attributes:
        stem: The clip's file name.
        rows: T.
        start: Where the first window begins.
        hop: From one row to the next; None if there is only one row.
        window: The length of the first window.
        end: Where the last window ends.
        valid: How many rows are valid.
    """

    stem: str
    rows: int
    start: float
    hop: float | None
    window: float
    end: float
    valid: int

    @classmethod
    def of(cls, stem: str, features: Features) -> "Grid":
        """Measure a clip.

        Raises:
            TimeGridError: If its rows are not at equal steps.
        """
        starts = features.intervals[:, 0]
        rows, first, last = len(starts), float(starts[0]), float(starts[-1])
        hop = (last - first) / (rows - 1) if rows > 1 else None
        if hop is not None:
            _refuse_gaps(stem, starts, hop)
        window = float(features.intervals[0, 1]) - first
        end = float(features.intervals[-1, 1])
        return cls(stem, rows, first, hop, window, end, int(features.valid.sum()))

    def as_json(self) -> dict[str, Any]:
        """Return what a loader needs; `start_seconds` is to be taken from times on the media's clock."""
        return {
            "rows": self.rows,
            "valid_rows": self.valid,
            "start_seconds": self.start,
            "duration": self.end - self.start,
        }


def write_actionformer(clips: Iterable[tuple[str, Features]], folder: Path, fps: float) -> None:
    """Write `<clip>.npy` `[T, D]` float32 for every clip, and `meta.json`.

    Args:
        clips: File names without suffix, with features.
        folder: Where to write.
        fps: The frame rate in which `feat_stride` and `num_frames` are counted.

    Raises:
        TimeGridError: If rows are not at equal steps, or not at the same steps in all clips.
    """
    grids = []
    for stem, features in clips:
        grids.append(Grid.of(stem, features))
        np.save(folder / f"{stem}.npy", features.values, allow_pickle=False)
    common = _common(grids)
    assert common.hop is not None  # noqa: S101  # `_common` refuses a grid without it
    meta = {
        "fps": fps,
        "feat_stride": common.hop * fps,
        "num_frames": common.window * fps,
        "hop_seconds": common.hop,
        "window_seconds": common.window,
        "first_row_centre_seconds": common.window / 2,
        "clips": {g.stem: g.as_json() for g in grids},
    }
    (folder / "meta.json").write_text(f"{json.dumps(meta, indent=1)}\n", encoding="utf-8")


def _refuse_gaps(stem: str, starts: "np.ndarray[Any, np.dtype[np.float64]]", hop: float) -> None:
    expected = starts[0] + hop * np.arange(len(starts))
    wrong = np.flatnonzero(~(np.abs(starts - expected) <= _TOLERANCE * hop))
    if hop <= 0 or len(wrong):
        row = int(wrong[0]) if len(wrong) else 1
        raise TimeGridError(
            f"clip {stem}: row {row} begins at {starts[row]:.3f} s; equal steps of {hop:.3f} s would put it "
            f"at {expected[row]:.3f} s. ActionFormer needs equal steps; export as npy, csv, parquet or h5"
        )


def _common(grids: list[Grid]) -> Grid:
    """Return the longest clip's grid, which must be all clips' grid."""
    longest = max(grids, key=lambda g: g.rows)
    if longest.hop is None:
        raise TimeGridError("every clip has one row, so that there are no steps in time to tell ActionFormer")
    for grid in grids:
        hop = longest.hop if grid.hop is None else grid.hop
        drift = abs(hop - longest.hop) * (grid.rows - 1)
        if max(drift, abs(grid.window - longest.window)) > _TOLERANCE * longest.hop and grid.rows > 1:
            raise TimeGridError(
                f"clip {grid.stem} has windows of {grid.window:.3f} s every {hop:.3f} s, clip {longest.stem} "
                f"of {longest.window:.3f} s every {longest.hop:.3f} s; ActionFormer takes one kind"
            )
    return longest
