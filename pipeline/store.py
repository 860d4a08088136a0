"""The feature store: immutable shards of flat HDF5, each with a record beside it.

A shard holds the features of a fixed list of clips. Clip i owns rows `offsets[i]:offsets[i + 1]`.
It is built in memory, checked, and published by rename; its record says what must be inside.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors import Features, check_features
from pipeline.files import canonical_json, publish, publish_json, read_json

ENCODING_TYPE = "affectstack-features"
ENCODING_VERSION = 1
_CHUNK_BYTES = 256 * 1024


class StoreError(AffectstackError):
    """A feature store that cannot be read."""


ClipKey = tuple[str, str]  # clip_id and view


@dataclass(frozen=True)
class Failure:
    """One clip that could not be extracted."""

    clip_id: str
    view: str
    type: str
    message: str


@dataclass(frozen=True)
class Record:
    """What a shard holds; lies beside it as JSON.

    Attributes:
        clips: `[clip_id, view]` of every clip in it, in order.
        planned_sha256: Fingerprint of all clips it was planned for and of their files.
        identity_sha256: Fingerprint of the extractor.
        sha256: Of the shard file; "" if every clip failed and there is none.
        rows: N, the rows of all clips.
        failures: The planned clips that are not in it.
        seen_subjects: Subjects that the extractor's weights have seen.
    """

    clips: list[ClipKey]
    planned_sha256: str
    identity_sha256: str
    sha256: str
    rows: int
    failures: list[Failure] = field(default_factory=list)
    seen_subjects: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the record as it is written."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> "Record | None":
        """Return the record, or None if the file is absent, damaged or of another kind."""
        if value is None:
            return None
        try:
            failures = [Failure(**f) for f in value["failures"]]
            clips = [(str(c), str(v)) for c, v in value["clips"]]
            return cls(**{**value, "clips": clips, "failures": failures})
        except (KeyError, TypeError, ValueError):
            return None


def identity_sha256(identity: dict[str, Any]) -> str:
    """Return the fingerprint of an extractor's identity."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.h5"


def record_path(shard: Path) -> Path:
    """Return where a shard's record lies."""
    return shard.with_suffix(".json")


def write_shard(
    path: Path,
    clips: Sequence[tuple[ClipKey, Features]],
    identity: dict[str, Any],
    names: Sequence[str],
    *,
    planned_sha256: str,
    failures: Sequence[Failure] = (),
    seen_subjects: Sequence[str] = (),
) -> Record:
    """Publish a shard, then its record. The same arguments give the same bytes.

    Args:
        path: Its final name.
        clips: Clip keys with features; may be empty if every clip failed.
        identity: The extractor's.
        names: `[D]` feature names.
        planned_sha256: See `Record`.
        failures: The clips that failed.
        seen_subjects: Subjects that the extractor has seen.

    Raises:
        BadFeaturesError: If features break the contract.
        WriteError: If the disk is full.
    """
    for key, features in clips:
        try:
            check_features(features, len(names))
        except AffectstackError as error:
            error.add_note(f"in clip {key[0]}")
            raise
    fingerprint = identity_sha256(identity)
    sha256 = ""
    if clips:
        data = _shard_bytes(clips, identity, fingerprint, names)
        sha256 = hashlib.sha256(data).hexdigest()
        publish(path, data, read_only=True)
    record = Record(
        clips=[key for key, _ in clips],
        planned_sha256=planned_sha256,
        identity_sha256=fingerprint,
        sha256=sha256,
        rows=sum(len(f.values) for _, f in clips),
        failures=list(failures),
        seen_subjects=sorted(seen_subjects),
    )
    publish_json(record_path(path), record.as_json(), read_only=True)
    return record


def read_record(shard: Path) -> Record | None:
    """Return a shard's record, or None if there is no usable one."""
    return Record.from_json(read_json(record_path(shard)))


def shard_is_intact(shard: Path, record: Record) -> bool:
    """Tell whether the shard's bytes are what its record says."""
    if not record.sha256:
        return not record.clips
    try:
        with shard.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
    except OSError:
        return False


def read_shard(path: Path, identity_fingerprint: str) -> Iterator[tuple[ClipKey, Features]]:
    """Yield every clip of a shard with its features.

    Args:
        path: The shard.
        identity_fingerprint: What the shard must have been made by.

    Raises:
        StoreError: If the file is damaged, of a newer version, or made by something else.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_header(path, file, identity_fingerprint)
            values: NDArray[np.float32] = file["values"][:]
            intervals: NDArray[np.float64] = file["intervals"][:]
            valid: NDArray[np.bool_] = file["valid"][:].astype(bool)
            offsets: list[int] = file["offsets"][:].tolist()
            ids = file["clip_id"].asstr()[:].tolist()
            views = file["view"].asstr()[:].tolist()
    except (OSError, KeyError) as error:
        raise StoreError(
            f"{path}: damaged ({error}); delete it and run python -m pipeline.extract again"
        ) from error
    for i, key in enumerate(zip(ids, views, strict=True)):
        rows = slice(offsets[i], offsets[i + 1])
        yield key, Features(values[rows], intervals[rows], valid[rows])


def _check_header(path: Path, file: h5py.File, fingerprint: str) -> None:
    kind, version = file.attrs.get("encoding-type"), file.attrs.get("encoding-version")
    if kind != ENCODING_TYPE:
        raise StoreError(f"{path}: encoding-type is {kind!r}; expected {ENCODING_TYPE!r}")
    if version != ENCODING_VERSION:
        raise StoreError(
            f"{path}: encoding-version is {version}; this affectstack reads {ENCODING_VERSION}. "
            "Upgrade affectstack to read it"
        )
    if file.attrs.get("identity-sha256") != fingerprint:
        raise StoreError(
            f"{path}: made by another extractor than its folder says; delete it and extract again"
        )


def _shard_bytes(
    clips: Sequence[tuple[ClipKey, Features]],
    identity: dict[str, Any],
    fingerprint: str,
    names: Sequence[str],
) -> bytes:
    features = [f for _, f in clips]
    offsets = np.concatenate([[0], np.cumsum([len(f.values) for f in features])]).astype(np.int64)
    text = h5py.string_dtype("utf-8")
    # In memory, because HDF5 can crash the process when the disk is full, and to hash the bytes once.
    with h5py.File.in_memory() as file:
        for name, rows in (
            ("values", np.concatenate([f.values for f in features])),
            ("intervals", np.concatenate([f.intervals for f in features])),
            ("valid", np.concatenate([f.valid for f in features])),
        ):
            chunk = max(1, min(len(rows), _CHUNK_BYTES // max(1, rows[:1].nbytes)))
            file.create_dataset(
                name, data=rows, chunks=(chunk, *rows.shape[1:]), fletcher32=True, track_times=False
            )
        for name, column in (("clip_id", [k[0] for k, _ in clips]), ("view", [k[1] for k, _ in clips])):
            file.create_dataset(name, data=column, dtype=text, track_times=False)
        file.create_dataset("offsets", data=offsets, track_times=False)
        file.attrs["encoding-type"] = ENCODING_TYPE
        file.attrs["encoding-version"] = ENCODING_VERSION
        file.attrs["extractor"] = identity["extractor"]
        file.attrs["dim"] = len(names)
        file.attrs["identity"] = canonical_json(identity)
        file.attrs["identity-sha256"] = fingerprint
        # Too long for an attribute, which HDF5 limits to 64 KiB.
        encoded = np.array([n.encode() for n in names], dtype=np.bytes_)
        file.create_dataset("feature_names", data=encoded, compression="gzip", track_times=False)
        file.flush()
        return bytes(file.id.get_file_image())
