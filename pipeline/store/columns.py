"""Reading the chunks of a dataset straight from the file, every checksum looked at.

HDF5 itself needs several times as long, most of it for its own kind of checksum.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

CHECKSUM_BYTES = 4  # HDF5's own, behind every chunk
_TOGETHER = 16  # chunks, as many as stay in the cache until their checksums are looked at


@dataclass(frozen=True)
class Column:
    """A dataset whose chunks hold whole rows.

    Attributes:
        shape: Of the dataset.
        dtype: Of its elements.
        rows: Rows per chunk.
        places: `(offset, size)` in the file of every chunk by its position; absent ones were never written.
        checksums: `[chunks]` what `checksum` must find; None: whatever it finds.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int
    places: dict[int, tuple[int, int]]
    checksums: NDArray[np.uint64] | None = None

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        return -(-self.shape[0] // self.rows)

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
        if last <= first:
            return np.empty((0, *self.shape[1:]), self.dtype)
        begin, end = first // self.rows, -(-last // self.rows)
        whole = np.empty((end - begin, self.rows, *self.shape[1:]), self.dtype)
        bodies = whole.reshape(end - begin, -1).view(np.uint8)
        for at in range(0, end - begin, _TOGETHER):
            self._fill(descriptor, begin + at, bodies[at : at + _TOGETHER])
        before = begin * self.rows
        return whole.reshape(-1, *self.shape[1:])[first - before : last - before]

    def read_packed(self, descriptor: int) -> NDArray[Any]:
        """Return all rows of a dataset whose chunks are compressed by zlib.

        Args:
            descriptor: The open file.

        Raises:
            ValueError: If a chunk is absent, cut, does not fit its checksum, or unpacks to another size.
        """
        out = np.empty(self.chunks * self.rows, self.dtype)
        bodies = out.view(np.uint8).reshape(self.chunks, -1)
        for chunk, body in enumerate(bodies):
            packed = np.empty(max(0, self.places.get(chunk, (0, 0))[1] - CHECKSUM_BYTES), np.uint8)
            self._fill(descriptor, chunk, packed[np.newaxis])
            body[...] = _unpacked(packed, len(body))
        return out[: self.shape[0]]

    def _fill(self, descriptor: int, first: int, bodies: NDArray[np.uint8]) -> None:
        """Read the bytes of the chunks from `first` on, and look at checksums while they are in the cache."""
        skipped = bytearray(CHECKSUM_BYTES)
        for offset, run in self._runs(first, *bodies.shape):
            wanted = [part for i in run for part in (bodies[i].data, skipped)]
            got = os.preadv(descriptor, wanted, offset)
            if got != sum(map(len, wanted)):
                raise ValueError(f"chunk {first + run[got // (bodies.shape[1] + CHECKSUM_BYTES)]} is cut")
        if self.checksums is None:
            return
        for i, body in enumerate(bodies, start=first):
            if checksum(body.data) != self.checksums[i]:
                raise ValueError(f"the checksum of chunk {i} does not fit")

    def _runs(self, first: int, count: int, size: int) -> Iterator[tuple[int, range]]:
        """Yield where chunks that follow each other in the file begin, and which they are after `first`."""
        found = [self.places.get(chunk, (0, 0)) for chunk in range(first, first + count)]
        for i, (_, taken) in enumerate(found):
            if taken != size + CHECKSUM_BYTES:
                raise ValueError(f"chunk {first + i} is absent or of another size")
        begins = [i for i in range(count) if i == 0 or found[i][0] != sum(found[i - 1])]
        for begin, end in pairwise([*begins, count]):
            yield found[begin][0], range(begin, end)


def checksum(body: memoryview) -> int:
    """Return the XXH3 of the bytes of a chunk, 64 bits."""
    return xxhash.xxh3_64_intdigest(body)


def _unpacked(packed: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the `size` bytes that some bytes unpack to; never much more of it is made."""
    try:
        body = zlib.decompressobj().decompress(packed.data, size + 1)
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked ({error})") from error
    if len(body) != size:
        raise ValueError(f"it does not unpack to {size} bytes")
    return np.frombuffer(body, np.uint8)


def chunk_rows(shape: Sequence[int], dtype: np.dtype[Any], most_bytes: int, most_rows: int) -> int:
    """Return how many rows a chunk of about `most_bytes` has."""
    row = int(np.prod(shape[1:])) * dtype.itemsize
    return max(1, min(shape[0], most_rows, most_bytes // max(1, row)))
