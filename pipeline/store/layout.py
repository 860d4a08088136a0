"""Encoding version 1: what the bytes of a shard mean.

Flat: `values [N, D]`, `intervals [N, 2]` and `valid [N]` hold the rows of all clips one after the other;
clip i owns rows `offsets[i]:offsets[i + 1]`, and `clip_id [n]`, `view [n]` say which clip it is. Everything
has fixed-size elements in chunks of whole rows. Where rows have pictures, row r owns the bytes
`picture_offsets[r]:picture_offsets[r + 1]` of `pictures`: a JPEG file, or nothing. `checksums` holds the XXH3
of every chunk, column by column: a changed byte in any of them is an error. HDF5's own Fletcher-32 is there
for other readers; it takes eight times as long to look at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from extractors import Features
from pipeline.files import canonical_json
from pipeline.store.block import ClipKey
from pipeline.store.columns import CHECKSUM_BYTES, checksum, chunk_rows
from pipeline.store.errors import StoreVersionError

ENCODING_TYPE = "affectstack-features"
ENCODING_VERSION = 1

_CHUNK_BYTES = 256 * 1024
_CHUNK_ROWS = 1 << 20  # HDF5 keeps the sizes of a chunk in 32 bits
PACKED = "feature_names"  # the one dataset that is compressed
CHECKSUMS = "checksums"
# Number of axes and kind of every dataset; strings may have any length. `checksums` comes last.
SCHEMA: dict[str, tuple[int, str]] = {
    "values": (2, "float32"),
    "intervals": (2, "float64"),
    "valid": (1, "bool"),
    "offsets": (1, "int64"),
    "clip_id": (1, "S"),
    "view": (1, "S"),
    "feature_names": (1, "S"),
    "checksums": (1, "uint64"),
}
# Both or none of these lie between the others and `checksums`.
PICTURES: dict[str, tuple[int, str]] = {"pictures": (1, "uint8"), "picture_offsets": (1, "int64")}


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
        PACKED: _text(names),  # too long for an attribute, which HDF5 limits to 64 KiB
        **_pictures(features),
    }
    # In memory, because HDF5 can crash the process when the disk is full, and to hash the bytes once.
    with h5py.File.in_memory() as file:
        sums = [found for name, rows in columns.items() for found in _put(file, name, rows)]
        _put(file, CHECKSUMS, np.array(sums, np.uint64))
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


def values_bytes(rows: int, dim: int) -> int:
    """Return how many bytes the values of a shard take: whole chunks of float32."""
    if not rows:
        return 0
    chunk = chunk_rows((rows, dim), np.dtype(np.float32), _CHUNK_BYTES, _CHUNK_ROWS)
    return -(-rows // chunk) * chunk * dim * 4


def _put(file: h5py.File, name: str, rows: NDArray[Any]) -> list[int]:
    """Write a dataset; return the checksums of its chunks."""
    chunk = (chunk_rows(rows.shape, rows.dtype, _CHUNK_BYTES, _CHUNK_ROWS), *rows.shape[1:])
    packed = "gzip" if name == PACKED else None
    data = file.create_dataset(
        name, data=rows, chunks=chunk, compression=packed, fletcher32=True, track_times=False
    ).id
    firsts = ((first, *[0] * (rows.ndim - 1)) for first in range(0, len(rows), chunk[0]))
    return [checksum(memoryview(data.read_direct_chunk(f)[1])[:-CHECKSUM_BYTES]) for f in firsts]


def _pictures(features: Sequence[Features]) -> dict[str, NDArray[Any]]:
    """Return the pictures of all rows one after the other, and where each begins; or nothing."""
    files = [file for f in features for file in (f.pictures or [b""] * len(f.values))]
    if not any(files):
        return {}
    joined = np.frombuffer(b"".join(files), np.uint8)
    return {"pictures": joined, "picture_offsets": np.cumsum([0, *map(len, files)], dtype=np.int64)}


def _text(words: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([w.encode() for w in words], dtype=np.bytes_)
