"""The features of many clips as they are read: one after the other."""

from collections.abc import Iterator, Sequence
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

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.values.nbytes + self.intervals.nbytes + self.valid.nbytes

    @classmethod
    def join(cls, blocks: Sequence["Block"]) -> "Block":
        """Return several blocks of the same columns as one; at least one must be given."""
        if len(blocks) == 1:
            return blocks[0]
        starts = np.cumsum([0, *(len(b.values) for b in blocks)])
        offsets = [b.offsets[:-1] + start for b, start in zip(blocks, starts, strict=False)]
        return cls(
            [key for b in blocks for key in b.keys],
            np.concatenate([*offsets, starts[-1:]]),
            np.concatenate([b.values for b in blocks]),
            np.concatenate([b.intervals for b in blocks]),
            np.concatenate([b.valid for b in blocks]),
        )
