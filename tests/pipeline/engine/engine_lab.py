"""Plans, jobs and processes for the engine's tests."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from extractors import Clip, Extractor
from manifests import Manifest
from pipeline.engine.messages import Failed, Item, Job, Take
from pipeline.engine.plan import Plan, ShardTask, Takes
from pipeline.store import Verified, identity_sha256, shard_name


def takes(count: int, **columns: Sequence[Any]) -> Takes:
    """Return the takes `c0`, `c1` … of a manifest."""
    ids = [f"c{i}" for i in range(count)]
    frame = pd.DataFrame({"clip_id": ids, "subject": ids, **columns})
    return Takes(Manifest(frame), Path("/corpus"))


def job(i: int, *features: str, probe: tuple[str, ...] = ()) -> Job:
    """Return the job of clip `c<i>`, which has no files."""
    return Job(i, Take(Clip(f"c{i}"), "", ()), features or ("x",), probe)


def plan_of(extractor: Extractor, folder: Path, *shards: range, feature: str = "x") -> Plan:
    """Return a plan of some shards, of which nothing is there."""
    identity = {"extractor": "stand", **extractor.identity()}
    tasks = [ShardTask(folder / feature / shard_name(i), clips, f"p{i}") for i, clips in enumerate(shards)]
    at = folder / feature
    return Plan(feature, extractor, identity, at, takes(shards[-1].stop), tasks, {}, Verified(at))


def fingerprint(plan: Plan) -> str:
    """Return the fingerprint of a plan's identity."""
    return identity_sha256(plan.identity)


def failure(items: Sequence[Item]) -> Failed:
    """Return the only failure."""
    (found,) = [i for i in items if isinstance(i, Failed)]
    return found


def children(pid: int | None = None) -> set[int]:
    """Return the processes that a process started and that still run (Linux)."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().partition(" (")
        except OSError:
            continue  # it ended just now
        state, parent = rest.rpartition(") ")[2].split()[:2]
        if int(parent) == (pid or os.getpid()) and state != "Z":
            found.add(int(number))
    return found


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and that nobody asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that must happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Quiet:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.clips: list[tuple[str, float | None, list[Failed]]] = []
        self.notes: list[str] = []

    def clip(self, job: Job, seconds: float | None, failures: Sequence[Failed]) -> None:
        self.clips.append((job.take.clip.clip_id, seconds, list(failures)))

    def note(self, text: str) -> None:
        self.notes.append(text)
