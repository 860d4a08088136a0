"""An open shard: one clip of it, or all."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors import Features
from pipeline.store.block import Block, ClipKey
from pipeline.store.columns import Column
from pipeline.store.errors import StoreCorruptError, StoreError
from pipeline.store.inspection import inspect
from pipeline.store.layout import CHECKSUMS, PACKED


class Shard:
    """An open shard whose structure was checked. Made by `open_shard`.

    Chunks are copied from the file itself, which is several times faster than HDF5's own way when every
    checksum is looked at.
    """

    def __init__(self, path: Path, descriptor: int, columns: dict[str, Column]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._columns = columns
        self._columns = _with_checksums(columns, self._read(CHECKSUMS))
        self.offsets: NDArray[np.int64] = self._read("offsets")
        self.keys: list[ClipKey] = list(zip(self._words("clip_id"), self._words("view"), strict=True))
        self._check_offsets()

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def read(self) -> Block:
        """Return every clip."""
        return Block(self.keys, self.offsets, *(self._read(n) for n in ("values", "intervals", "valid")))

    def clip(self, i: int) -> Features:
        """Return the i-th clip, reading only its chunks."""
        first, last = int(self.offsets[i]), int(self.offsets[i + 1])
        read = (self._read(n, first, last) for n in ("values", "intervals", "valid"))
        return Features(*(_released(part) for part in read))

    def pictures(self, i: int) -> tuple[bytes, ...] | None:
        """Return the pictures of the i-th clip's rows, b"" where a row has none; None if no row has any."""
        if "pictures" not in self._columns:
            return None
        first, last = int(self.offsets[i]), int(self.offsets[i + 1])
        places = self._read("picture_offsets", first, last + 1)
        total = self._columns["pictures"].shape[0]
        if places[0] < 0 or (places[1:] < places[:-1]).any() or places[-1] > total:
            raise damaged(self.path, "picture_offsets do not rise within the pictures")
        body = self._read("pictures", int(places[0]), int(places[-1])).tobytes()
        begins = (places - places[0]).tolist()
        return tuple(body[a:b] for a, b in pairwise(begins))

    @property
    def dim(self) -> int:
        """D, the number of columns."""
        return self._columns["values"].shape[1]

    def names(self) -> list[str]:
        """Return the `[D]` feature names."""
        return self._words("feature_names")

    def _read(self, name: str, first: int = 0, last: int | None = None) -> Any:
        column = self._columns[name]
        try:
            if name == PACKED:
                return column.read_packed(self._descriptor)
            return column.read(self._descriptor, first, last)
        except (ValueError, OSError) as error:
            raise damaged(self.path, f"{name}: {error}") from error

    def _words(self, name: str) -> list[str]:
        try:
            return [word.decode() for word in self._read(name).tolist()]
        except UnicodeDecodeError as error:
            raise damaged(self.path, f"{name}: {error}") from error

    def _check_offsets(self) -> None:
        rows = self._columns["values"].shape[0]
        if len(self.offsets) != len(self.keys) + 1 or self.offsets[0] != 0 or self.offsets[-1] != rows:
            raise damaged(self.path, "offsets do not fit the rows")
        if (self.offsets[1:] <= self.offsets[:-1]).any():
            raise damaged(self.path, "offsets do not rise")
        if len(set(self.keys)) != len(self.keys):
            raise damaged(self.path, "a clip is there twice")


def _released(part: NDArray[Any]) -> Any:
    """Return a part that does not keep chunks alive which are much larger than it is."""
    whole = part.base
    return part.copy() if whole is not None and whole.nbytes > 2 * part.nbytes else part


def _with_checksums(columns: dict[str, Column], sums: NDArray[np.uint64]) -> dict[str, Column]:
    """Return the columns with the part of all checksums that belongs to each."""
    ends = np.cumsum([column.chunks for column in columns.values()])
    parts = zip(columns.items(), np.split(sums, ends[:-1]), strict=True)
    return {n: column if n == CHECKSUMS else replace(column, checksums=p) for (n, column), p in parts}


def open_shard(path: Path, fingerprint: str | None = None) -> Shard:
    """Open a shard. Its structure is checked before any of its data are read.

    Args:
        path: The file.
        fingerprint: The sha256 of the identity that it must have been made by; None: any.

    Raises:
        StoreCorruptError: If it is absent or damaged.
        StoreVersionError: If it was written by a newer affectstack.
        StoreUnsafeError: If it refers to other files, holds what no shard holds, or states absurd sizes.
        StoreError: If it was made by something else.
    """
    try:  # a named pipe would let us wait
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise damaged(path, str(error)) from error
    try:
        return Shard(path, descriptor, inspect(path, os.fstat(descriptor), fingerprint))
    except StoreError:
        os.close(descriptor)
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:  # what h5py raises
        os.close(descriptor)
        raise damaged(path, str(error)) from error


def decode(path: Path, fingerprint: str | None = None) -> Block:
    """Read a whole shard.

    Raises:
        StoreError: See `open_shard`.
    """
    with open_shard(path, fingerprint) as shard:
        return shard.read()


def damaged(path: Path, reason: str) -> StoreCorruptError:
    """Return the error of a shard that must be made anew."""
    return StoreCorruptError(
        f"{path}: damaged ({reason}); run python -m pipeline.extract again, it makes this shard anew"
    )
