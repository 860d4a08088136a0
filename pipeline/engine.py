"""Running an extractor over a corpus: plan shards, do those that are not there, gather failures."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectstack import AffectstackError
from extractors import Clip, ClipError, Extractor, Features, check_features
from manifests import Manifest
from manifests.manifest import MEDIA_COLUMNS, clip_sha256
from pipeline.experiment import Workspace
from pipeline.features import FeatureIndex, spec_as_json
from pipeline.files import canonical_json, publish
from pipeline.options import ConfigError
from pipeline.processes import worker_pool
from pipeline.store import (
    ClipKey,
    Failure,
    Record,
    identity_sha256,
    read_record,
    shard_is_intact,
    shard_name,
    write_shard,
)

_CLIPS_PER_SHARD = 32


# Extractors of a worker process, which serves one experiment and then ends.
_PREPARED: dict[str, Extractor] = {}


class SourceChangedError(ClipError):
    """A file is not the one that the manifest was made from."""


class WorkerDiedError(AffectstackError):
    """A worker process was killed or crashed."""


@dataclass(frozen=True)
class Take:
    """A manifest row as the engine needs it."""

    clip: Clip
    sha256: str
    files: tuple[Path, ...]

    def fingerprint(self) -> str:
        """Return what decides whether the clip must be extracted again."""
        clip = self.clip
        times = (clip.start, clip.end)
        return canonical_json([clip.clip_id, clip.view, [f.name for f in self.files], times, self.sha256])


@dataclass(frozen=True)
class ShardTask:
    """One shard to be made; small enough to send to any process."""

    path: Path
    takes: tuple[Take, ...]
    planned_sha256: str


@dataclass
class Plan:
    """All shards of one feature.

    Attributes:
        feature: Its name.
        extractor: The extractor, constructed and prepared on demand.
        identity: Its identity.
        folder: Where the shards lie.
        tasks: Every shard.
        finished: The records of those that are there already, by position in `tasks`.
    """

    feature: str
    extractor: Extractor
    identity: dict[str, Any]
    folder: Path
    tasks: list[ShardTask]
    finished: dict[int, Record]

    @property
    def clips(self) -> int:
        """How many clips there are in all."""
        return sum(len(t.takes) for t in self.tasks)

    @property
    def clips_done(self) -> int:
        """How many clips are in finished shards, failed ones included."""
        return sum(len(self.tasks[i].takes) for i in self.finished)


def plan(workspace: Workspace, manifest: Manifest, feature: str, *, retry_failed: bool = False) -> Plan:
    """Decide what is to be done for a feature.

    A shard is finished if its record, its bytes and the extractor's identity all match.

    Args:
        workspace: The experiment.
        manifest: The clips.
        feature: The feature's name.
        retry_failed: Redo shards in which a clip failed.
    """
    extractor = workspace.extractor(feature)
    name = workspace.experiment.features[feature].extractor
    identity = {"extractor": name, **extractor.identity()}
    if strangers := sorted(extractor.trained_on - set(manifest.subjects())):
        raise ConfigError(
            f"features.{feature}: trained_on names {', '.join(map(repr, strangers[:5]))}; "
            "the manifest has no such subject"
        )
    if extractor.trained_on:
        identity["trained_on"] = sorted(extractor.trained_on)
    fingerprint = identity_sha256(identity)
    folder = workspace.folder / "features" / name / fingerprint[:12]
    takes = list(_takes(manifest, workspace.root))
    tasks = []
    for index, first in enumerate(range(0, len(takes), _CLIPS_PER_SHARD)):
        part = tuple(takes[first : first + _CLIPS_PER_SHARD])
        planned = hashlib.sha256("\n".join(t.fingerprint() for t in part).encode()).hexdigest()
        tasks.append(ShardTask(folder / shard_name(index), part, planned))
    finished = {}
    for i, task in enumerate(tasks):
        record = read_record(task.path)
        if (
            record is not None
            and record.planned_sha256 == task.planned_sha256
            and record.identity_sha256 == fingerprint
            and not (retry_failed and record.failures)
            and shard_is_intact(task.path, record)
        ):
            finished[i] = record
    return Plan(feature, extractor, identity, folder, tasks, finished)


def execute(
    work: Plan, workspace: Workspace, workers: int, on_shard: Callable[[ShardTask, Record], bool]
) -> None:
    """Make every shard that is not there.

    Args:
        work: The plan; its `finished` grows.
        workspace: The experiment, for processes to construct the extractor from.
        workers: Processes. Extractors that run a network on the whole machine get one, and so do those that
            only look things up.
        on_shard: Called after each shard; returns False to stop.

    Raises:
        WorkerDiedError: If a process dies; finished shards stay.
    """
    todo = [i for i in range(len(work.tasks)) if i not in work.finished]
    if not todo:
        return
    work.extractor.prepare()
    alone = work.extractor.on_device or not work.extractor.reads_media
    if alone or workers == 1 or len(todo) == 1:
        made: Iterable[tuple[int, Record]] = (
            (i, make_shard(work.tasks[i], work.extractor, work.identity)) for i in todo
        )
    else:
        made = _in_processes(work, workspace, todo, workers)
    for i, record in made:
        work.finished[i] = record
        if not on_shard(work.tasks[i], record):
            break


def make_shard(task: ShardTask, extractor: Extractor, identity: dict[str, Any]) -> Record:
    """Extract the clips of a shard and publish it. A clip that fails costs that clip."""
    done: list[tuple[ClipKey, Features]] = []
    failures = []
    for take in task.takes:
        clip = take.clip
        try:
            if extractor.reads_media:
                _refuse_changed(take)
            features = extractor.extract(clip)
            check_features(features, extractor.dim)
        except ClipError as error:
            failures.append(Failure(clip.clip_id, clip.view, type(error).__name__, str(error)))
        except Exception as error:
            error.add_note(f"while extracting clip {clip.clip_id} with {identity['extractor']}")
            raise
        else:
            done.append(((clip.clip_id, clip.view), features))
    return write_shard(
        task.path,
        done,
        identity,
        extractor.feature_names,
        planned_sha256=task.planned_sha256,
        failures=failures,
        seen_subjects=sorted(extractor.trained_on),
    )


def publish_index(work: Plan, workspace: Workspace) -> FeatureIndex:
    """Write the feature's index and its `failures.csv`; only when every shard is there."""
    records = [work.finished[i] for i in range(len(work.tasks))]
    failures = [f for r in records for f in r.failures]
    write_failures(work.folder / "failures.csv", failures)
    index = FeatureIndex(
        name=work.feature,
        spec=spec_as_json(workspace, work.feature),
        folder=work.folder.relative_to(workspace.folder).as_posix(),
        shards=[t.path.name for t in work.tasks],
        identity=work.identity,
        identity_sha256=identity_sha256(work.identity),
        seen_subjects=sorted({s for r in records for s in r.seen_subjects}),
        untrained=work.extractor.untrained,
        clips=sum(len(r.clips) for r in records),
        failed=len(failures),
    )
    index.write(workspace)
    return index


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Publish `failures.csv`: one row per clip that failed; only a header if none did."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip_id", "view", "stage", "type", "message"])
    writer.writerows([f.clip_id, f.view, "extract", f.type, f.message] for f in failures)
    publish(path, text.getvalue().encode())


def _takes(manifest: Manifest, root: Path) -> Iterator[Take]:
    for row in manifest.frame.to_dict("records"):
        media = {c: root / row[c] if row[c] else None for c in MEDIA_COLUMNS}
        clip = Clip(
            clip_id=row["clip_id"],
            video=media["video"],
            audio=media["audio"],
            start=_seconds(row["start"]),
            end=_seconds(row["end"]),
            view=row["view"],
        )
        yield Take(clip, row["sha256"], tuple(f for f in media.values() if f is not None))


def _seconds(value: float) -> float | None:
    return None if value != value else float(value)  # NaN is the manifest's "whole file"


def _refuse_changed(take: Take) -> None:
    if take.sha256 and (found := clip_sha256(take.files)) and found != take.sha256:
        raise SourceChangedError(
            f"{' and '.join(f.name for f in take.files)} changed since the manifest was made "
            f"(sha256 {found[:12]}, manifest {take.sha256[:12]}); run python -m pipeline.init again"
        )


def _in_processes(
    work: Plan, workspace: Workspace, todo: Sequence[int], workers: int
) -> Iterator[tuple[int, Record]]:
    """Make shards in several processes; each shard has one writer."""
    pool = worker_pool(min(workers, len(todo)))
    try:
        running = {
            pool.submit(_make_in_worker, work.tasks[i], workspace, work.feature, work.identity): i
            for i in todo
        }
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            f"a worker process died while extracting {work.feature!r}; finished shards are kept. "
            "Run the same command again, with --workers 1 to see which clip does it"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make_in_worker(task: ShardTask, workspace: Workspace, feature: str, identity: dict[str, Any]) -> Record:
    if feature not in _PREPARED:
        _PREPARED[feature] = workspace.extractor(feature)
        _PREPARED[feature].prepare()
    return make_shard(task, _PREPARED[feature], identity)
