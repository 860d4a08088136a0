"""Small stores for the tests, made by `write_shard` alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from extractors import Features
from pipeline.store import ClipKey, Record, write_shard

IDENTITY: dict[str, Any] = {"extractor": "fake", "layer": 3}
COLUMNS = ("values", "intervals", "valid", "offsets", "clip_id", "view", "feature_names", "checksums")
NAMES = ("a", "b", "c")


def features(rows: int, seed: int = 0, dim: int = 3, *, silent: bool = False) -> Features:
    """Return random features whose rows follow each other every half second."""
    values = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    edges = np.arange(rows + 1, dtype=np.float64) / 2
    valid = np.arange(rows) % 2 == 0
    return Features(values, np.column_stack([edges[:-1], edges[1:]]), valid, silent)


def clips() -> list[tuple[ClipKey, Features]]:
    """Return three clips of 8 rows, one of them with a view."""
    return [(("one", ""), features(2)), (("two", "left"), features(5, 1)), (("three", ""), features(1, 2))]


def put(path: Path, items: list[tuple[ClipKey, Features]] | None = None, **options: Any) -> Record:
    """Publish a shard."""
    names = options.pop("names", NAMES)
    identity = options.pop("identity", IDENTITY)
    return write_shard(
        path, clips() if items is None else items, identity, names, planned_sha256="p", **options
    )


def overwrite(path: Path, data: bytes) -> None:
    """Change the bytes of a published file."""
    path.chmod(0o644)
    path.write_bytes(data)


def tamper(path: Path, change: Callable[[h5py.File], None], *, reseal: bool = False) -> None:
    """Change a published shard through HDF5, its checksums too if asked."""
    path.chmod(0o644)
    with h5py.File(path, "r+") as file:
        change(file)
        if reseal:
            file["checksums"][...] = [stored_checksum(file[name].id) for name in COLUMNS[:-1]]


def stored_checksum(data: h5py.h5d.DatasetID) -> int:
    """Return the XXH3 of the first chunk of a dataset, without HDF5's own checksum behind it."""
    return xxhash.xxh3_64_intdigest(data.read_direct_chunk((0,) * len(data.shape))[1][:-4])


def assert_equal(ours: Features, wanted: Features) -> None:
    """Compare features exactly."""
    np.testing.assert_array_equal(ours.values, wanted.values)
    np.testing.assert_array_equal(ours.intervals, wanted.intervals)
    np.testing.assert_array_equal(ours.valid, wanted.valid)


def open_files() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
