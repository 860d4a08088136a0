"""A place for small results that outlive the large work they come from."""

import mmap

import numpy as np
from numpy.typing import NDArray

from extractors.contract import FloatArray

_BLOCK = 4 << 20
_ALIGNMENT = 64


class Aside:
    """Keeps rows in blocks that are not part of the heap.

    A row left in the heap lies where the layers of a network had theirs a moment ago, and that place is never
    whole again: over a clip of three minutes the process grew by up to half. A block goes when nothing refers
    to its rows any more.
    """

    def __init__(self) -> None:
        self._block: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._used = 0

    def keep(self, rows: FloatArray) -> FloatArray:
        """Return the same rows, kept here; what is no array of numbers is returned as it is."""
        rows = np.asarray(rows)
        if rows.dtype.hasobject:
            return rows
        if self._used + rows.nbytes > self._block.size:
            size = max(rows.nbytes, _BLOCK)
            self._block = np.frombuffer(
                mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8
            )
            self._used = 0
        place = self._block[self._used : self._used + rows.nbytes].view(rows.dtype).reshape(rows.shape)
        place[...] = rows
        self._used += -(-rows.nbytes // _ALIGNMENT) * _ALIGNMENT
        return place
