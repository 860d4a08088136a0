"""What is to be done: the shards of a feature, and which of them are there already."""

import gc
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from extractors.contract import Clip, Extractor, Features, Precision, WindowExtractor
from extractors.hardware import has_bf16
from manifests import Manifest
from manifests.manifest import MEDIA_COLUMNS
from pipeline.engine.messages import Take
from pipeline.features import read_index
from pipeline.options import ConfigError
from pipeline.store import (
    ClipKey,
    FeatureStore,
    Record,
    Verified,
    identity_sha256,
    read_record,
    record_path,
    shard_name,
)
from pipeline.workspace import Workspace

_SHARD_BYTES = 256 << 20

_Column = NDArray[np.object_]  # unlike a list, nothing that the collector of garbage walks through


class Takes:
    """The manifest's rows as the engine needs them, made when they are asked for.

    Args:
        manifest: The clips.
        root: The corpus root.
    """

    def __init__(self, manifest: Manifest, root: Path) -> None:
        frame = manifest.frame
        self._columns = {c: _plain(frame[c]) for c in ("clip_id", "view", "sha256", *MEDIA_COLUMNS)}
        self._starts, self._ends = _seconds(frame["start"]), _seconds(frame["end"])
        self._durations = _seconds(frame["duration"])
        words = [self._columns[c] for c in ("clip_id", "view", "sha256")]
        words += [_names(self._columns[c]) for c in MEDIA_COLUMNS]
        words += [_reprs(times) for times in (self._starts, self._ends)]
        self._compared = [column[:0] if _is_empty(column) else column for column in words]
        self._root = root

    def __len__(self) -> int:
        return len(self._durations)

    def __getitem__(self, i: int) -> Take:
        row = {name: column[i] for name, column in self._columns.items()}
        media = {c: self._root / row[c] if row[c] else None for c in MEDIA_COLUMNS}
        clip = Clip(
            row["clip_id"],
            media["video"],
            media["audio"],
            _said(self._starts[i]),
            _said(self._ends[i]),
            row["view"],
        )
        return Take(clip, row["sha256"], tuple(f for f in media.values() if f is not None))

    def seconds(self, i: int) -> float | None:
        """Return how long a clip lasts, or None if nobody knows."""
        start, end = _said(self._starts[i]), _said(self._ends[i])
        last = end if end is not None else _said(self._durations[i])
        return None if last is None else max(0.0, last - (start or 0.0))

    def fingerprint(self, clips: range, source: FeatureStore | None = None) -> str:
        """Return what decides whether some clips must be extracted again: their files, or their pictures."""
        columns = [column[clips.start : clips.stop].tolist() for column in self._compared]
        text = "\0".join("\n".join(words) if any(words) else "" for words in columns)
        if source is not None:
            ids, views = self._columns["clip_id"], self._columns["view"]
            text += "\0".join(dict.fromkeys(source.sha256_of((ids[i], views[i])) for i in clips))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ShardTask:
    """One shard to be made.

    Attributes:
        path: Where.
        clips: Positions of its clips in the manifest.
        planned_sha256: Their fingerprint.
    """

    path: Path
    clips: range
    planned_sha256: str


@dataclass
class Plan:
    """All shards of one feature.

    Attributes:
        feature: Its name.
        extractor: The extractor; prepared when it is needed.
        identity: Its identity.
        folder: Where the shards lie.
        takes: All clips.
        tasks: Every shard.
        finished: The records of those that are there already, by position in `tasks`.
        verified: What is known about their bytes.
        source: The feature whose pictures the extractor reads in place of the media; None: it reads none.
    """

    feature: str
    extractor: Extractor
    identity: dict[str, Any]
    folder: Path
    takes: Takes
    tasks: list[ShardTask]
    finished: dict[int, Record]
    verified: Verified
    source: FeatureStore | None = None

    def stored(self, key: ClipKey) -> Features | None:
        """Return what the source holds of a clip, with its pictures; None if it does not hold it."""
        held = self.source is not None and key in self.source
        return self.source.with_pictures(key) if self.source is not None and held else None

    @property
    def todo(self) -> list[int]:
        """The positions of the shards that are not there."""
        return [i for i in range(len(self.tasks)) if i not in self.finished]

    @property
    def records(self) -> list[Record]:
        """The records of all shards, in order; only when every one is there."""
        return [self.finished[i] for i in range(len(self.tasks))]

    @property
    def clips_done(self) -> int:
        """How many clips are in finished shards, failed ones included."""
        return sum(len(self.tasks[i].clips) for i in self.finished)

    def written(self, shards: Sequence[int]) -> int:
        """Return how many bytes some shards take with their records; those that are there."""
        paths = [p for i in shards for p in (self.tasks[i].path, record_path(self.tasks[i].path))]
        return sum(path.stat().st_size for path in paths if path.is_file())

    def windows(self) -> int:
        """Return about how many windows all clips have; 0 if there is no network."""
        if not isinstance(self.extractor, WindowExtractor):
            return 0
        return sum(self.extractor.windows_in(self.takes.seconds(i)) for i in range(len(self.takes)))


def make_plan(
    workspace: Workspace,
    manifest: Manifest,
    takes: Takes,
    feature: str,
    *,
    precision: str = "auto",
    retry_failed: bool = False,
) -> Plan:
    """Decide what is to be done for a feature.

    A shard is finished if its record, its bytes and the extractor's identity all match.

    Args:
        workspace: The experiment.
        manifest: The clips.
        takes: The same clips.
        feature: The feature's name.
        precision: "fp32", "bf16", or "auto": what is fastest here and allowed by the extractor's card.
        retry_failed: Redo shards in which a clip failed.

    Raises:
        ConfigError: If the precision is not allowed, or `trained_on` names a stranger.
        StoreVersionError: If a newer affectstack was here.
    """
    extractor, identity = identified(workspace, manifest, feature, precision)
    source = None
    if extractor.reads_feature is not None:
        index = read_index(workspace, extractor.reads_feature)
        source, identity = index.open(workspace), identity_of(workspace, feature, extractor, index.identity)
        extractor.rows_per_second = workspace.extractor(extractor.reads_feature).rows_per_second
    fingerprint = identity_sha256(identity)
    folder = workspace.folder / "features" / identity["extractor"] / fingerprint[:12]
    tasks = [
        ShardTask(folder / shard_name(i), clips, takes.fingerprint(clips, source))
        for i, clips in enumerate(_parts(extractor, takes))
    ]
    verified = Verified(folder)
    with _no_collection():
        finished = {
            i: record
            for i, task in enumerate(tasks)
            if (record := read_record(task.path)) is not None
            and record.planned_sha256 == task.planned_sha256
            and record.identity_sha256 == fingerprint
            and record.counts(extractor.counted)
            and not (retry_failed and record.failures)
            and verified.holds(task.path, record)
        }
    return Plan(feature, extractor, identity, folder, takes, tasks, finished, verified, source)


def identified(
    workspace: Workspace, manifest: Manifest, feature: str, precision: str
) -> tuple[Extractor, dict[str, Any]]:
    """Construct a feature's extractor as it will be run; return it with its identity.

    What belongs to the identity besides is that of the feature whose pictures it reads, if it reads any.

    Raises:
        ConfigError: See `make_plan`.
    """
    extractor = workspace.extractor(feature)
    if isinstance(extractor, WindowExtractor):
        extractor.precision = _resolved(extractor, precision, feature)
    if extractor.trained_on and (strangers := sorted(extractor.trained_on - set(manifest.subjects()))):
        raise ConfigError(
            f"features.{feature}: trained_on names {', '.join(map(repr, strangers[:5]))}; "
            "the manifest has no such subject"
        )
    return extractor, identity_of(workspace, feature, extractor)


def identity_of(
    workspace: Workspace, feature: str, extractor: Extractor, pictures: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return all that decides a feature's values, as JSON.

    Args:
        workspace: The experiment.
        feature: The feature's name.
        extractor: Its extractor, whose precision is decided.
        pictures: The same of the feature whose pictures it reads.
    """
    identity = {"extractor": workspace.experiment.features[feature].extractor, **extractor.identity()}
    if extractor.trained_on:
        identity["trained_on"] = sorted(extractor.trained_on)
    return identity if pictures is None else {**identity, "pictures": pictures}


def changed_keys(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return which keys of an identity differ, and how."""
    keys = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    return ", ".join(f"{k}: {_short(before.get(k))} -> {_short(now.get(k))}" for k in keys)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: records are many objects, and all of them stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parts(extractor: Extractor, takes: Takes) -> Iterator[range]:
    """Cut the manifest into shards: a number of clips, less if they are long and have many rows."""
    row_bytes = (extractor.row_bytes or 4 * extractor.dim) * extractor.rows_per_second
    if not row_bytes:
        yield from (
            range(i, min(i + extractor.clips_per_shard, len(takes)))
            for i in range(0, len(takes), extractor.clips_per_shard)
        )
        return
    first, size = 0, 0.0
    for i in range(len(takes)):
        more = row_bytes * (takes.seconds(i) or 0.0)
        if i > first and (i - first == extractor.clips_per_shard or size + more > _SHARD_BYTES):
            yield range(first, i)
            first, size = i, 0.0
        size += more
    if first < len(takes):
        yield range(first, len(takes))


def _resolved(extractor: WindowExtractor, precision: str, feature: str) -> Precision:
    if precision == "auto":
        return "bf16" if extractor.allows_bf16 and has_bf16() else "fp32"
    if precision == "bf16" and not extractor.allows_bf16:
        raise ConfigError(
            f"--precision bf16: the card of feature {feature!r}'s extractor has no measurement that "
            "bfloat16 keeps its values; use --precision auto"
        )
    return "bf16" if precision == "bf16" else "fp32"


def _plain(column: "pd.Series[Any]") -> _Column:
    return column.to_numpy(dtype=object)


def _seconds(column: "pd.Series[Any]") -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64)


def _said(seconds: np.float64) -> float | None:
    return None if np.isnan(seconds) else float(seconds)


def _names(paths: _Column) -> _Column:
    return paths if _is_empty(paths) else _column(path.rpartition("/")[2] for path in paths.tolist())


def _is_empty(column: _Column) -> bool:
    return column.tolist().count("") == len(column)


def _reprs(times: NDArray[np.float64]) -> _Column:
    if np.isnan(times).all():
        return _column([])
    return _column("" if np.isnan(seconds) else repr(float(seconds)) for seconds in times)


def _column(words: Iterable[str]) -> _Column:
    return np.array(list(words), dtype=object)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 24 else f"{text[:20]}…"
