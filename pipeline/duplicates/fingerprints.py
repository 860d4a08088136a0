"""The fingerprints of a manifest's clips, made once and kept."""

import io
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
        sha256: Of its files; "" if they are not there, or no other clip's are as long.
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
            if key not in self._known and (files := self._takes[i].files) and not _on_disk(files).problem
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

    def hash(self, workers: int) -> None:
        """Hash the files that the manifest has no sha256 of, if another clip's are as long; keep the hashes.

        A file that no other is as long as has no equal, and a large one takes long to read.
        """
        takes = [self._takes[i] for i in range(len(self._takes))]
        if all(take.sha256 or not take.files for take in takes):
            return
        sizes = [_on_disk(take.files).sizes for take in takes]
        distinct = {(take.files, take.sha256): size for take, size in zip(takes, sizes, strict=True)}
        often = Counter(distinct.values())
        todo = {
            key: take.files
            for key, take, size in zip(self._keys, takes, sizes, strict=True)
            if size and often[size] > 1 and key in self._known and not self._known[key].sha256
        }
        files = list(dict.fromkeys(todo.values()))
        with ThreadPoolExecutor(workers) as pool:
            found = dict(zip(files, pool.map(_hashed, files), strict=True))
        for key, own in todo.items():
            sha256, problem = found[own]
            heard = self._known[key]
            self._known[key] = Heard("", None, problem) if problem else replace(heard, sha256=sha256)
        if todo:
            self._write()

    def __getitem__(self, row: int) -> Heard:
        """Return what is known of the sound of a row of the manifest."""
        take = self._takes[row]
        if not take.files:
            return Heard(take.sha256, None, "MissingMediaError: the manifest names no file")
        if (known := self._known.get(self._keys[row])) is not None:
            return known
        problem = _on_disk(take.files).problem
        return Heard(take.sha256, None, problem or f"DecodeError: {take.files[0].name}: was not there before")

    def identity(self, row: int) -> str:
        """Return what clips of the same files have in common: their hash, or else their paths."""
        return self[row].sha256 or "\n".join(map(str, self._takes[row].files))

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


@dataclass(frozen=True)
class _OnDisk:
    """What the file system says of a clip's files.

    Attributes:
        sizes: Of each, in bytes; () if one of them is not to be had.
        times: When each was changed.
        problem: Why one is not to be had, `"<type>: <sentence>"`, or "".
    """

    sizes: tuple[int, ...]
    times: tuple[int, ...]
    problem: str = ""


def _on_disk(files: Sequence[Path]) -> _OnDisk:
    found: list[os.stat_result] = []
    for file in files:
        try:
            found.append(file.stat())
            reason = "" if stat.S_ISREG(found[-1].st_mode) else "no plain file"
        except FileNotFoundError:
            reason = "no such file"
        except OSError as error:  # no permission, a disk or a server that fails
            reason = error.strerror or type(error).__name__
        if reason:
            return _OnDisk((), (), f"DecodeError: {file.name}: {reason}")
    return _OnDisk(tuple(s.st_size for s in found), tuple(s.st_mtime_ns for s in found))


def _hashed(files: Sequence[Path]) -> tuple[str, str]:
    """Return the sha256 of a clip's files, or "" and why it cannot be had."""
    try:
        return clip_sha256(files), ""
    except OSError as error:
        return "", f"DecodeError: {files[0].name}: {error.strerror or type(error).__name__}"


def _key(take: Take) -> str:
    """Return what a clip is known by; "" if its files are not to be had."""
    piece = [take.clip.start, take.clip.end]
    if take.sha256:
        return json.dumps([take.sha256, *piece])
    there = _on_disk(take.files)
    found = [[str(f), *of] for f, *of in zip(take.files, there.sizes, there.times, strict=False)]
    return json.dumps([found, *piece]) if found else ""


def _heard(take: Take, item: Whole | Failed) -> Heard:
    if isinstance(item, Failed):
        return Heard(take.sha256, None, f"{item.type}: {item.message}")
    return Heard(take.sha256, _packed(item.features))


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
