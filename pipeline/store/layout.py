"""Encoding version 1: what the bytes of a shard mean.

Flat: `values [N, D]`, `intervals [N, 2]` and `valid [N]` hold the rows of all clips one after the other;
clip i owns rows `offsets[i]:offsets[i + 1]`, and `clip_id [n]`, `view [n]` say which clip it is. Everything
has fixed-size elements in chunks with a Fletcher-32 checksum: a changed byte in any of them is an error.
"""

import math
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from extractors import Features
from pipeline.files import canonical_json
from pipeline.store.columns import Column, chunk_rows
from pipeline.store.errors import StoreCorruptError, StoreError, StoreUnsafeError, StoreVersionError

ENCODING_TYPE = "affectstack-features"
ENCODING_VERSION = 1
ClipKey = tuple[str, str]  # clip_id and view

_CHUNK_BYTES = 256 * 1024
_CHUNK_ROWS = 1 << 20  # HDF5 keeps the sizes of a chunk in 32 bits
_MOST_NAME_BYTES = 64 * 1024 * 1024
_MOST_HEADER_BYTES = 1024
# Number of axes and kind of every dataset; strings may have any length.
_PACKED = "feature_names"
_SCHEMA: dict[str, tuple[int, str]] = {
    "values": (2, "float32"),
    "intervals": (2, "float64"),
    "valid": (1, "bool"),
    "offsets": (1, "int64"),
    "clip_id": (1, "S"),
    "view": (1, "S"),
    "feature_names": (1, "S"),
}


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


def encode(
    clips: Sequence[tuple[ClipKey, Features]],
    identity: dict[str, Any],
    fingerprint: str,
    names: Sequence[str],
) -> bytes:
    """Return the bytes of a shard; the same arguments give the same bytes.

    Args:
        clips: At least one clip with its features.
        identity: The extractor's.
        fingerprint: The sha256 of the identity.
        names: `[D]` feature names.
    """
    features = [f for _, f in clips]
    columns: dict[str, NDArray[Any]] = {
        "values": np.concatenate([f.values for f in features]),
        "intervals": np.concatenate([f.intervals for f in features]),
        "valid": np.concatenate([f.valid for f in features]),
        "offsets": np.cumsum([0, *(len(f.values) for f in features)], dtype=np.int64),
        "clip_id": _text([key[0] for key, _ in clips]),
        "view": _text([key[1] for key, _ in clips]),
    }
    # In memory, because HDF5 can crash the process when the disk is full, and to hash the bytes once.
    with h5py.File.in_memory() as file:
        for name, rows in columns.items():
            chunk = (chunk_rows(rows.shape, rows.dtype, _CHUNK_BYTES, _CHUNK_ROWS), *rows.shape[1:])
            file.create_dataset(name, data=rows, chunks=chunk, fletcher32=True, track_times=False)
        # Too long for an attribute, which HDF5 limits to 64 KiB.
        words = _text(names)
        chunk = (chunk_rows(words.shape, words.dtype, _CHUNK_BYTES, _CHUNK_ROWS),)
        file.create_dataset(
            "feature_names", data=words, chunks=chunk, compression="gzip", fletcher32=True, track_times=False
        )
        # Of fixed size, because they are read before the file is trusted.
        file.attrs["encoding-type"] = np.bytes_(ENCODING_TYPE)
        file.attrs["encoding-version"] = ENCODING_VERSION
        file.attrs["identity-sha256"] = np.bytes_(fingerprint)
        # For people; this code reads the record.
        file.attrs["extractor"] = identity["extractor"]
        file.attrs["dim"] = len(names)
        file.attrs["identity"] = canonical_json(identity)
        file.flush()
        return bytes(file.id.get_file_image())


def decode(path: Path, fingerprint: str | None = None) -> Block:
    """Read a whole shard.

    Raises:
        StoreError: See `open_shard`.
    """
    with open_shard(path, fingerprint) as shard:
        return shard.read()


class Shard:
    """An open shard whose structure was checked. Made by `open_shard`.

    Chunks are copied from the file itself, which is several times faster than HDF5's own way when every
    checksum is looked at.
    """

    def __init__(self, path: Path, descriptor: int, columns: dict[str, Column]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._columns = columns
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
        return Features(*(self._read(n, first, last) for n in ("values", "intervals", "valid")))

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
            if name == _PACKED:
                return column.read_packed(self._descriptor)
            return column.read(self._descriptor, first, last)
        except ValueError as error:
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
        return Shard(path, descriptor, _columns(path, os.fstat(descriptor), fingerprint))
    except StoreError:
        os.close(descriptor)
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:  # what h5py raises
        os.close(descriptor)
        raise damaged(path, str(error)) from error


def _columns(path: Path, status: os.stat_result, fingerprint: str | None) -> dict[str, Column]:
    """Check the header and the structure; return where the data lie."""
    if not stat.S_ISREG(status.st_mode):
        raise StoreUnsafeError(f"{path}: is no file")
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    try:
        _check_header(path, file, fingerprint)
        return _check_structure(path, file, status.st_size)
    finally:
        file.close()


def damaged(path: Path, reason: str) -> StoreCorruptError:
    """Return the error of a shard that must be made anew."""
    return StoreCorruptError(
        f"{path}: damaged ({reason}); run python -m pipeline.extract again, it makes this shard anew"
    )


def check_version(path: Path, version: Any) -> None:
    """Refuse a version that this code does not read.

    Raises:
        StoreVersionError: Naming both versions.
    """
    if version != ENCODING_VERSION:
        raise StoreVersionError(
            f"{path}: encoding-version is {version}; this affectstack reads {ENCODING_VERSION}. "
            "Upgrade affectstack to read it"
        )


def _check_header(path: Path, file: h5py.h5f.FileID, fingerprint: str | None) -> None:
    kind = _scalar(file, "encoding-type")
    if kind != ENCODING_TYPE:
        raise StoreError(f"{path}: encoding-type is {kind!r}; expected {ENCODING_TYPE!r}")
    check_version(path, _scalar(file, "encoding-version"))
    if fingerprint is not None and _scalar(file, "identity-sha256") != fingerprint:
        raise StoreError(
            f"{path}: made by another extractor than its folder says; delete it and extract again"
        )


def _scalar(file: h5py.h5f.FileID, name: str) -> Any:
    """Return a small attribute, or None if it is absent or anything but one number or short string."""
    if not h5py.h5a.exists(file, name.encode()):
        return None
    attribute = h5py.h5a.open(file, name.encode())
    dtype = attribute.dtype
    if attribute.shape != () or dtype.kind not in "iuS" or dtype.itemsize > _MOST_HEADER_BYTES:
        return None
    value = np.empty((), attribute.dtype)
    attribute.read(value)
    found = value[()]
    return found.decode() if isinstance(found, bytes) else found


def _check_structure(path: Path, file: h5py.h5f.FileID, size: int) -> dict[str, Column]:
    """Look at links, shapes and storage, which reads no data."""
    found = {name.decode() for name in _first_names(file, len(_SCHEMA) + 1)}
    if found != set(_SCHEMA):
        raise StoreUnsafeError(f"{path}: holds {_few(found)}; expected {_few(_SCHEMA)}")
    columns = {name: _checked(path, file, name, size) for name in _SCHEMA}
    rows, width = columns["values"].shape
    clips = columns["clip_id"].shape
    expected = {"intervals": (rows, 2), "valid": (rows,), "feature_names": (width,), "view": clips}
    for name, shape in expected.items():
        if columns[name].shape != shape:
            raise StoreUnsafeError(f"{path}: {name} is {list(columns[name].shape)}; expected {list(shape)}")
    return columns


def _first_names(file: h5py.h5f.FileID, most: int) -> list[bytes]:
    names: list[bytes] = []

    def take(name: bytes) -> bool | None:
        names.append(name)
        return len(names) == most or None  # anything but None ends it

    file.links.iterate(take)
    return names


def _checked(path: Path, file: h5py.h5f.FileID, name: str, size: int) -> Column:
    if file.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise StoreUnsafeError(f"{path}: {name} is a link to another place; a shard holds its own data")
    data = h5py.h5o.open(file, name.encode())
    if not isinstance(data, h5py.h5d.DatasetID):
        raise StoreUnsafeError(f"{path}: {name} is no dataset")
    plan = data.get_create_plist()
    if plan.get_layout() != h5py.h5d.CHUNKED:  # external storage and virtual datasets have other layouts
        raise StoreUnsafeError(f"{path}: {name} does not hold its data in chunks of this file")
    axes, kind = _SCHEMA[name]
    shape, dtype, chunk = data.shape, data.dtype, plan.get_chunk()
    fits = dtype.kind == "S" if kind == "S" else dtype == np.dtype(kind)
    if len(shape) != axes or not fits or chunk[1:] != shape[1:]:
        raise StoreUnsafeError(f"{path}: {name} is {dtype} {list(shape)}; expected {kind} with {axes} axes")
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if filters != [h5py.h5z.FILTER_DEFLATE] * (name == _PACKED) + [h5py.h5z.FILTER_FLETCHER32]:
        raise StoreUnsafeError(f"{path}: {name} has filters {filters}; expected Fletcher-32 checksums")
    # Nothing but the names is compressed, so the data cannot be larger than the file.
    most = _MOST_NAME_BYTES if name == _PACKED else size
    if max(math.prod(shape), math.prod(chunk)) * dtype.itemsize > most:
        raise StoreUnsafeError(
            f"{path}: {name} states {list(shape)} of {dtype} in chunks of {list(chunk)}, "
            f"more than the file's {size} bytes can hold"
        )
    return Column(shape, dtype, chunk[0], _places(data, chunk[0]))


def _places(data: h5py.h5d.DatasetID, rows: int) -> dict[int, tuple[int, int]]:
    found: list[Any] = []
    data.chunk_iter(found.append)  # asking for one after the other takes time squared
    return {i.chunk_offset[0] // rows: (i.byte_offset, i.size) for i in found}


def _few(names: Any) -> str:
    listed = sorted(map(repr, names))
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")


def _text(words: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([w.encode() for w in words], dtype=np.bytes_)
