"""Shards and their records: how they are published, and what a record says."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from affectstack import AffectstackError
from extractors import Features, check_features
from extractors.audit import AUDITED, ClipAudit
from pipeline.files import WriteError, canonical_json, publish, read_json
from pipeline.store.block import ClipKey
from pipeline.store.errors import StoreWriteError
from pipeline.store.layout import ENCODING_VERSION, check_version, encode

_VERSION = "encoding-version"


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
        ids: The clip ids of every clip in it, in order.
        views: Their views.
        planned_sha256: Fingerprint of all clips it was planned for and of their files.
        identity: The extractor's.
        identity_sha256: Its fingerprint.
        sha256: Of the shard file; "" if every clip failed and there is none.
        bytes: The size of the shard file.
        rows: N, the rows of all clips.
        failures: The planned clips that are not in it.
        silent: The ids of clips whose sound is digital silence.
        seen_subjects: Subjects that the extractor's weights have seen.
        tally: What the extractor counted of every clip in it, in order.
        empty: The ids of clips without a single valid row.
        audit: What decoding found, of every clip in it, in order: columns of `ClipAudit`, less those that
            nobody knows anything of. Records of before it was made have none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    ids: list[str]
    views: list[str]
    planned_sha256: str
    identity: dict[str, Any]
    identity_sha256: str
    sha256: str
    bytes: int
    rows: int
    failures: list[Failure] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    seen_subjects: list[str] = field(default_factory=list)
    tally: dict[str, list[int]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    audit: dict[str, list[Any]] = field(
        default_factory=dict
    )  # looking at every number takes ten times as long

    @property
    def clips(self) -> list[ClipKey]:
        """The clips in it, in order."""
        return list(zip(self.ids, self.views, strict=True))

    def counts(self, names: Sequence[str]) -> bool:
        """Tell whether it says of every clip what is to be counted."""
        return set(self.tally) == (set(names) if self.ids else set()) and all(
            len(counts) == len(self.ids) for counts in self.tally.values()
        )

    def as_json(self) -> dict[str, Any]:
        """Return the record as it is written."""
        return {_VERSION: ENCODING_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Record | None":
        """Return the record, or None if it is damaged."""
        fields = {k: v for k, v in value.items() if k != _VERSION}
        try:
            record = _record_type().validate_python(fields)
        except ValidationError:
            return None
        lengths = {len(record.ids), len(record.views), *map(len, record.audit.values())}
        return record if len(lengths) == 1 else None


@cache
def _record_type() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


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
    tallies: Sequence[Mapping[str, int]] = (),
    audits: Sequence[ClipAudit | None] = (),
) -> Record:
    """Publish a shard, then its record. The same arguments give the same bytes.

    If every clip failed there is no shard, and one that was there before goes.

    Args:
        path: Its final name.
        clips: Clip keys with features; may be empty if every clip failed.
        identity: The extractor's.
        names: `[D]` feature names.
        planned_sha256: See `Record`.
        failures: The clips that failed.
        seen_subjects: Subjects that the extractor has seen.
        tallies: What was counted of every clip, or nothing.
        audits: What decoding found of every clip, or nothing.

    Raises:
        BadFeaturesError: If features break the contract.
        StoreWriteError: If the disk is full or the folder cannot be written.
    """
    for key, features in clips:
        try:
            check_features(features, len(names))
        except AffectstackError as error:
            error.add_note(f"in clip {key[0]}")
            raise
    fingerprint = identity_sha256(identity)
    data = encode(clips, identity, fingerprint, names) if clips else b""
    record = Record(
        ids=[key[0] for key, _ in clips],
        views=[key[1] for key, _ in clips],
        planned_sha256=planned_sha256,
        identity=identity,
        identity_sha256=fingerprint,
        sha256=hashlib.sha256(data).hexdigest() if clips else "",
        bytes=len(data),
        rows=sum(len(f.values) for _, f in clips),
        failures=list(failures),
        silent=[key[0] for key, f in clips if f.silent],
        seen_subjects=sorted(seen_subjects),
        tally={key: [t[key] for t in tallies] for key in (tallies[0] if tallies else ())},
        empty=[key[0] for key, f in clips if not f.valid.any()],
        audit=_columns(audits),
    )
    try:
        if clips:
            publish(path, data, read_only=True)
        publish(record_path(path), f"{canonical_json(record.as_json())}\n".encode(), read_only=True)
        if not clips:
            path.unlink(missing_ok=True)
    except (WriteError, OSError) as error:
        raise StoreWriteError(str(error)) from error
    return record


def _columns(audits: Sequence[ClipAudit | None]) -> dict[str, list[Any]]:
    found = {name: [None if a is None else getattr(a, name) for a in audits] for name in AUDITED}
    return {name: column for name, column in found.items() if any(value is not None for value in column)}


def read_record(shard: Path) -> Record | None:
    """Return a shard's record, or None if there is no usable one.

    Raises:
        StoreVersionError: If it was written by a newer affectstack.
    """
    path = record_path(shard)
    value = read_json(path)
    if value is None or _VERSION not in value:
        return None
    check_version(path, value[_VERSION])
    return Record.from_json(value)
