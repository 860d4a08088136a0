"""The features of many clips as they are read: one after the other."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extractors import Features

ClipKey = tuple[str, str]  # clip_id and view


@dataclass(frozen=True)
class Block:
    """The features of many clips, one after the other.

    Attributes:
        keys: `[n]` clip ids with views.
        offsets: `[n + 1]` int64; clip i owns rows `offsets[i]:offsets[i + 1]`.
        values: `[N, D]` float32.
        intervals: `[N, 2]` float64 seconds.
        valid: `[N]` bool.
    """

    keys: list[ClipKey]
    offsets: NDArray[np.int64]
    values: NDArray[np.float32]
    intervals: NDArray[np.float64]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> Features:
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return Features(self.values[rows], self.intervals[rows], self.valid[rows])

    def items(self) -> Iterator[tuple[ClipKey, Features]]:
        """Yield every clip."""
        return ((key, self[i]) for i, key in enumerate(self.keys))
