"""The fingerprints of a manifest's clips, made once and kept."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from affectstack.hashing import clip_sha256
from extractors import Features
from extractors.contract import MissingMediaError, TooShortError
from extractors.fingerprint import SoundFingerprint
from manifests import Manifest
from pipeline.duplicates.matching import Print
from pipeline.engine.local import memory_per_worker
from pipeline.engine.messages import Failed, Job, Limits, Setup, Take, Whole
from pipeline.engine.plan import Takes
from pipeline.engine.pool import DecoderPool
from pipeline.files import canonical_json, publish
from pipeline.workspace import Workspace

_FILE = Path("features") / "fingerprints.parquet"
_METADATA = b"affectstack"
_NAME = "fingerprint"
_LASTING = (MissingMediaError.__name__, TooShortError.__name__)  # what another try would not change


@dataclass(frozen=True)
class Heard:
    """What is known of a clip's sound.

    Attributes:
        sha256: Of its files; "" if they are not there.
        fingerprint: Of its sound; None if it has none that could be read.
        problem: Why not, `"<type>: <sentence>"`, or "".
    """

    sha256: str
    fingerprint: Print | None
    problem: str = ""

    @property
    def lasting(self) -> bool:
        """Whether another try would give the same."""
        return not self.problem or self.problem.partition(":")[0] in _LASTING


class Fingerprints:
    """The fingerprints of some clips, kept in `features/fingerprints.parquet`.

    A clip is known by the sha256 of its files, as the manifest has it, or else by their paths, sizes and
    times of change, and by its piece of them.

    Args:
        workspace: The experiment.
        manifest: The clips.
    """

    def __init__(self, workspace: Workspace, manifest: Manifest) -> None:
        self._path = workspace.folder / _FILE
        self._takes = Takes(manifest, workspace.root)
        self._extractor = SoundFingerprint()
        self._known = self._read()
        self._keys = [_key(self._takes[i]) for i in range(len(self._takes))]

    def todo(self) -> list[int]:
        """Return the rows of the manifest whose sound was not looked at yet and whose files are there."""
        return [
            i
            for i, key in enumerate(self._keys)
            if key not in self._known and (files := self._takes[i].files) and all(f.is_file() for f in files)
        ]

    def make(self, todo: Sequence[int], workers: int) -> Iterator[None]:
        """Listen to clips, in processes of their own; what was heard is kept even if this is interrupted."""
        if not todo:
            return
        limits = Limits(bytes=memory_per_worker(workers))
        setup = Setup({_NAME: self._extractor}, limits.bytes)
        try:
            with DecoderPool(setup, min(workers, len(todo)), limits) as pool:
                jobs = (Job(i, self._takes[i], (_NAME,)) for i in todo)
                for job, items in pool.stream(jobs):
                    for item in items:
                        if isinstance(item, Whole | Failed):
                            self._known[self._keys[job.position]] = _heard(job.take, item)
                    yield
        finally:
            self._write()

    def __getitem__(self, row: int) -> Heard:
        """Return what is known of the sound of a row of the manifest."""
        take = self._takes[row]
        if not take.files:
            return Heard(take.sha256, None, "MissingMediaError: the manifest names no file")
        return self._known.get(
            self._keys[row], Heard(take.sha256, None, f"DecodeError: {take.files[0].name}: no such file")
        )

    def __len__(self) -> int:
        return len(self._takes)

    def _about(self) -> bytes:
        return canonical_json(self._extractor.identity()).encode()

    def _read(self) -> dict[str, Heard]:
        """Return what is kept; nothing, if it is damaged or of another kind of fingerprint."""
        try:
            table = pq.read_table(self._path)
            if (table.schema.metadata or {}).get(_METADATA) != self._about():
                return {}
            rows = table.to_pydict()
            columns = zip(
                rows["key"], rows["sha256"], rows["rows"], rows["loud"], rows["problem"], strict=True
            )
            return {key: Heard(sha, _unpacked(bits, loud), why) for key, sha, bits, loud, why in columns}
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return {}

    def _write(self) -> None:
        kept = {key: heard for key, heard in self._known.items() if heard.lasting}
        prints = [heard.fingerprint for heard in kept.values()]
        table = pa.table(
            {
                "key": pa.array(list(kept), pa.string()),
                "sha256": pa.array([heard.sha256 for heard in kept.values()], pa.string()),
                "rows": pa.array([None if p is None else p.rows.tobytes() for p in prints], pa.binary()),
                "loud": pa.array([None if p is None else p.loud.tobytes() for p in prints], pa.binary()),
                "problem": pa.array([heard.problem for heard in kept.values()], pa.string()),
            }
        )
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({_METADATA: self._about()}), sink, compression="zstd")
        publish(self._path, sink.getvalue())


def _key(take: Take) -> str:
    """Return what a clip is known by."""
    piece = [take.clip.start, take.clip.end]
    if take.sha256:
        return json.dumps([take.sha256, *piece])
    stats = [(f.stat() if f.is_file() else None) for f in take.files]
    found = [[str(f), s.st_size, s.st_mtime_ns] for f, s in zip(take.files, stats, strict=True) if s]
    return json.dumps([found, *piece])


def _heard(take: Take, item: Whole | Failed) -> Heard:
    sha256 = take.sha256 or clip_sha256(take.files)
    if isinstance(item, Failed):
        return Heard(sha256, None, f"{item.type}: {item.message}")
    return Heard(sha256, _packed(item.features))


def _packed(features: Features) -> Print:
    bits = np.packbits(features.values > 0, axis=1)
    return Print(bits.view(">u4")[:, 0].astype(np.uint32), features.valid)


def _unpacked(rows: bytes | None, loud: bytes | None) -> Print | None:
    """Return a fingerprint as it was kept.

    Raises:
        ValueError: If it is not one.
    """
    if rows is None or loud is None:
        return None
    found = Print(np.frombuffer(rows, np.uint32), np.frombuffer(loud, np.bool_))
    if len(found.rows) != len(found.loud):
        raise ValueError(f"{len(found.rows)} rows, {len(found.loud)} marks")
    return found
