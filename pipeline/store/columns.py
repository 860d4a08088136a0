"""Reading the chunks of a dataset straight from the file, every checksum looked at.

HDF5 itself needs three to five times as long, most of it for the checksum.
"""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHECKSUM_BYTES = 4
_LINE = 256  # words that are summed at once
_WORTH_THREADS = 8  # chunks


@dataclass(frozen=True)
class Column:
    """A dataset whose chunks hold whole rows.

    Attributes:
        shape: Of the dataset.
        dtype: Of its elements.
        rows: Rows per chunk.
        places: `(offset, size)` in the file of every chunk by its position; absent ones were never written.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int
    places: dict[int, tuple[int, int]]

    def read(self, descriptor: int, first: int = 0, last: int | None = None) -> NDArray[Any]:
        """Return rows `first` to `last`.

        Args:
            descriptor: The open file.
            first: The first row.
            last: The row behind the last one; None is the end.

        Raises:
            ValueError: If a chunk is absent, cut, or does not fit its checksum.
        """
        last = self.shape[0] if last is None else last
        out = np.empty((last - first, *self.shape[1:]), self.dtype)
        chunks = range(first // self.rows, -(-last // self.rows) if last > first else 0)

        def fill(chunk: int) -> None:
            begin = chunk * self.rows
            low, high = max(first, begin), min(last, begin + self.rows)
            target = out[low - first : high - first]
            whole = target if len(target) == self.rows else np.empty((self.rows, *self.shape[1:]), self.dtype)
            self._fill(descriptor, chunk, whole.reshape(-1).view(np.uint8))
            if whole is not target:
                target[...] = whole[low - begin : high - begin]

        if len(chunks) < _WORTH_THREADS:
            for chunk in chunks:
                fill(chunk)
        else:
            list(_threads().map(fill, chunks))
        return out

    def read_packed(self, descriptor: int) -> NDArray[Any]:
        """Return all rows of a dataset whose chunks are compressed by zlib.

        Args:
            descriptor: The open file.

        Raises:
            ValueError: If a chunk is absent, cut, does not fit its checksum, or unpacks to another size.
        """
        chunks = -(-self.shape[0] // self.rows)
        out = np.empty(chunks * self.rows, self.dtype)
        body = out.view(np.uint8).reshape(chunks, -1)
        for chunk in range(chunks):
            packed = np.empty(max(0, self.places.get(chunk, (0, 0))[1] - _CHECKSUM_BYTES), np.uint8)
            self._fill(descriptor, chunk, packed)
            body[chunk] = _unpacked(packed, body.shape[1])
        return out[: self.shape[0]]

    def _fill(self, descriptor: int, chunk: int, body: NDArray[np.uint8]) -> None:
        """Read the bytes of a chunk and look at their checksum while they are in the cache."""
        stated = bytearray(_CHECKSUM_BYTES)
        offset, size = self.places.get(chunk, (0, 0))
        if size != len(body) + _CHECKSUM_BYTES:
            raise ValueError(f"chunk {chunk} is absent or of another size")
        if os.preadv(descriptor, [body.data, stated], offset) != size:
            raise ValueError(f"chunk {chunk} is cut")
        if not _agree(fletcher32(body), int.from_bytes(stated, "little")):
            raise ValueError(f"the checksum of chunk {chunk} does not fit")


def fletcher32(data: NDArray[np.uint8]) -> int:
    """Return HDF5's Fletcher-32 of some bytes: 16-bit big-endian words, sums modulo 65535.

    With n words w, the two sums are `sum(w[i])` and `sum((n - i) * w[i])`. They are taken line by line by a
    matrix product, in float64, which holds them exactly. A little-endian word times 256 is the big-endian
    one modulo 65535.

    Args:
        data: `[B]` bytes; an odd last byte counts as the upper half of a word.
    """
    if len(data) % 2:
        data = np.append(data, np.uint8(0))
    words = data.view("<u2")
    n, whole = len(words), len(words) // _LINE * _LINE
    lines = words[:whole].reshape(-1, _LINE).astype(np.float64) @ _weights()
    rest = words[whole:].astype(np.int64)
    sums, within = lines[:, 0].astype(np.int64), lines[:, 1].astype(np.int64)
    behind = (n - np.arange(1, len(lines) + 1) * _LINE) % 65535  # words that follow a line
    total = int(sums.sum()) + int(rest.sum())
    weighted = (
        int(within.sum()) + int((sums * behind).sum()) + int((rest * np.arange(len(rest), 0, -1)).sum())
    )
    return weighted * 256 % 65535 << 16 | total * 256 % 65535


def _unpacked(packed: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the `size` bytes that some bytes unpack to; never much more of it is made."""
    try:
        body = zlib.decompressobj().decompress(packed.data, size + 1)
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked ({error})") from error
    if len(body) != size:
        raise ValueError(f"it does not unpack to {size} bytes")
    return np.frombuffer(body, np.uint8)


def _agree(ours: int, stated: int) -> bool:
    """Compare modulo 65535: HDF5 writes 65535 where the remainder is 0."""
    return ours >> 16 == (stated >> 16) % 65535 and ours & 0xFFFF == (stated & 0xFFFF) % 65535


@cache
def _weights() -> NDArray[np.float64]:
    return np.column_stack([np.ones(_LINE), np.arange(_LINE, 0, -1)])


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0))), thread_name_prefix="chunks")


# A forked child has the pool but none of its threads, and would wait for them forever.
os.register_at_fork(after_in_child=_threads.cache_clear)


def chunk_rows(shape: Sequence[int], dtype: np.dtype[Any], most_bytes: int, most_rows: int) -> int:
    """Return how many rows a chunk of about `most_bytes` has."""
    row = int(np.prod(shape[1:])) * dtype.itemsize
    return max(1, min(shape[0], most_rows, most_bytes // max(1, row)))
