"""Looking at a shard before any of its data are read: what does not look like ours is refused."""

import math
import os
import stat
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.store.columns import Column
from pipeline.store.errors import StoreError, StoreUnsafeError
from pipeline.store.layout import CHECKSUMS, ENCODING_TYPE, PACKED, PICTURES, SCHEMA, check_version

_MOST_NAME_BYTES = 64 * 1024 * 1024
_MOST_HEADER_BYTES = 1024


def inspect(path: Path, status: os.stat_result, fingerprint: str | None) -> dict[str, Column]:
    """Check the header and the structure of a file; return where its data lie.

    Args:
        path: The file.
        status: Of the file as it was opened.
        fingerprint: See `open_shard`.

    Raises:
        StoreError: See `open_shard`; and what h5py raises on a damaged file.
    """
    if not stat.S_ISREG(status.st_mode):
        raise StoreUnsafeError(f"{path}: is no file")
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    try:
        _check_header(path, file, fingerprint)
        return _check_structure(path, file, status.st_size)
    finally:
        file.close()


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
    found = {name.decode() for name in _first_names(file, len(SCHEMA) + len(PICTURES) + 1)}
    pictures = PICTURES if found & set(PICTURES) else {}
    if found != {*SCHEMA, *pictures}:
        raise StoreUnsafeError(f"{path}: holds {_few(found)}; expected {_few(SCHEMA)}")
    names = [*(n for n in SCHEMA if n != CHECKSUMS), *pictures, CHECKSUMS]
    columns = {name: _checked(path, file, name, size) for name in names}
    rows, width = columns["values"].shape
    clips = columns["clip_id"].shape
    chunks = (sum(column.chunks for name, column in columns.items() if name != CHECKSUMS),)
    expected = {
        "intervals": (rows, 2), "valid": (rows,), "feature_names": (width,), "view": clips, CHECKSUMS: chunks
    }  # fmt: skip
    expected |= {"picture_offsets": (rows + 1,)} if pictures else {}
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
    axes, kind = {**SCHEMA, **PICTURES}[name]
    shape, dtype, chunk = data.shape, data.dtype, plan.get_chunk()
    fits = dtype.kind == "S" if kind == "S" else dtype == np.dtype(kind)
    if len(shape) != axes or not fits or chunk[1:] != shape[1:]:
        raise StoreUnsafeError(f"{path}: {name} is {dtype} {list(shape)}; expected {kind} with {axes} axes")
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if filters != [h5py.h5z.FILTER_DEFLATE] * (name == PACKED) + [h5py.h5z.FILTER_FLETCHER32]:
        raise StoreUnsafeError(f"{path}: {name} has filters {filters}; expected Fletcher-32 checksums")
    # Nothing but the names is compressed, so the data cannot be larger than the file.
    most = _MOST_NAME_BYTES if name == PACKED else size
    if max(math.prod(shape), math.prod(chunk)) * dtype.itemsize > most:
        raise StoreUnsafeError(
            f"{path}: {name} states {list(shape)} of {dtype} in chunks of {list(chunk)}, "
            f"more than the file's {size} bytes can hold"
        )
    return Column(shape, dtype, chunk[0], _places(path, data, chunk[0], size))


def _places(path: Path, data: h5py.h5d.DatasetID, rows: int, size: int) -> dict[int, tuple[int, int]]:
    """Return where the chunks lie. An index may have been made to lead in circles."""
    found: list[Any] = []
    chunks = -(-data.shape[0] // rows)

    def take(chunk: Any) -> bool | None:
        found.append(chunk)
        return True if len(found) > chunks else None  # anything but None ends it

    data.chunk_iter(take)  # asking for one after the other takes time squared
    if len(found) > chunks or sum(chunk.size for chunk in found) > size:
        raise StoreUnsafeError(f"{path}: its index names more chunks than the file can hold")
    if any(chunk.byte_offset + chunk.size > size for chunk in found):
        raise StoreUnsafeError(f"{path}: its index names chunks behind the end of the file")
    return {chunk.chunk_offset[0] // rows: (chunk.byte_offset, chunk.size) for chunk in found}


def _few(names: Any) -> str:
    listed = sorted(map(repr, names))
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
