"""A few clips extracted as a whole run would do it, to know what the others will cost."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from manifests import Manifest
from pipeline.engine.local import LocalEngine, Settings
from pipeline.engine.messages import Failed, Job
from pipeline.engine.plan import Plan, ShardTask, Takes
from pipeline.store import FeatureStore, Verified, identity_sha256, shard_name
from pipeline.store.layout import values_bytes

_COPIES = 64  # of a clip at most: enough to see how fast many are done where one takes no time
_MEASURED_SECONDS = 2.0  # that a measurement should take
_LONG_SECONDS = 20.0  # one that takes longer than this is not repeated with more copies


@dataclass(frozen=True)
class Cost:
    """What a clip costs a feature, where many clips are done one after the other.

    Attributes:
        seconds: Of the clip itself.
        work: Seconds that it takes.
        bytes: Of the shard and its record, less the values.
        rows: It gives.
        shard_bytes: What a shard takes besides its clips.
    """

    seconds: float
    work: float
    bytes: float
    rows: float
    shard_bytes: float = 0.0

    def less(self, other: "Cost") -> "Cost":
        """Return the difference to a smaller one."""
        work, size, rows = self.work - other.work, self.bytes - other.bytes, self.rows - other.rows
        return Cost(self.seconds, max(work, 0.0), size, rows)

    def shared(self, copies: int) -> "Cost":
        """Return the part of one of several copies."""
        return Cost(self.seconds, self.work / copies, self.bytes / copies, self.rows / copies)


@dataclass
class Probe:
    """Extracts copies of a few clips into a folder of its own.

    Args:
        plans: Features that run together, as a whole run would plan them.
        manifest: All clips.
        root: The corpus root.
        chosen: Positions of the clips to look at.
        lengths: Their lengths in seconds.
        folder: For shards that nobody needs later.
        settings: As a whole run would have them.
        windows: How many a whole run will have of each feature, which decides about compiling.

    Attributes:
        start: Seconds until the first clip could begin; known after `measure`.
        failures: Why clips failed, by feature.
    """

    plans: Sequence[Plan]
    manifest: Manifest
    root: Path
    chosen: Sequence[int]
    lengths: Sequence[float]
    folder: Path
    settings: Settings
    windows: Mapping[str, int]
    start: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)

    def measure(
        self, most: Mapping[int, int] | None = None
    ) -> tuple[dict[str, dict[int, Cost]], dict[int, Cost]]:
        """Measure every feature alone, and all that read media together.

        Args:
            most: Copies of each clip there may be; None: as many as are wanted.

        Returns:
            By feature, and of those together: costs of the chosen clips, by their position; clips that
            failed are left out.
        """
        takes = Takes(self._copies(), self.root)
        self._own = [_ProbePlan.of(p, takes, self.folder, self.windows[p.feature]) for p in self.plans]
        self.made: dict[str, dict[int, tuple[str, int]]] = {p.feature: {} for p in self._own}
        media = [p for p in self._own if p.extractor.reads_media]
        alone: dict[str, dict[int, Cost]] = {p.feature: {} for p in self._own}
        together: dict[int, Cost] = {}
        with LocalEngine(self._own, self.settings, self) as engine:
            shortest = min(range(len(self.chosen)), key=lambda j: self.lengths[j])
            began = time.perf_counter()
            self._run(engine, self._own, shortest, self.settings.workers)
            warm = time.perf_counter() - began
            for j in range(len(self.chosen)):
                copies = _COPIES if most is None else most.get(j, 1)
                for plan in self._own:
                    if cost := self._cost(engine, [plan], j, copies):
                        alone[plan.feature][j] = cost
                if len(media) > 1 and (cost := self._cost(engine, media, j, copies)):
                    together[j] = cost
        shown = together or next((costs for costs in alone.values() if costs), {})
        least = min((cost.work for cost in shown.values()), default=0.0)
        self.start = max(0.0, warm - self.settings.workers * least)
        return alone, together

    def source(self, feature: str) -> tuple[FeatureStore, dict[int, int]]:
        """Return what was made of a feature, for others that read it, and how many copies of each clip."""
        plan = next(p for p in self._own if p.feature == feature)
        names = [name for name, _ in self.made[feature].values()]
        copies = {j: count for j, (_, count) in self.made[feature].items()}
        return FeatureStore(plan.folder, names, identity_sha256(plan.identity)), copies

    def clip(self, job: Job, seconds: float | None, failures: Sequence[Failed]) -> None:
        """See `Listener`."""
        for failure in failures:
            self.failures.setdefault(failure.feature, f"{failure.type}: {failure.message}")

    def note(self, text: str) -> None:
        """See `Listener`."""

    def _copies(self) -> Manifest:
        frame = self.manifest.frame
        # Foreign tables know clips by their ids, so that a copy must be told by its view.
        rows = [
            frame.iloc[[i]].assign(view=f"{j}-{k}") for j, i in enumerate(self.chosen) for k in range(_COPIES)
        ]
        return Manifest(pd.concat(rows, ignore_index=True))

    def _cost(self, engine: LocalEngine, plans: Sequence["_ProbePlan"], j: int, most: int) -> Cost | None:
        """Return what one more clip costs: the difference of many copies to few, so that no start counts."""
        few = min(self.settings.workers, most)
        first = self._run(engine, plans, j, few)
        if first is None:
            return None
        many = min(most, max(4 * few, round(_MEASURED_SECONDS * few / max(first.work, 1e-3))))
        if many == few or first.work > _LONG_SECONDS:
            return first.shared(few)
        more = self._run(engine, plans, j, many)
        if more is None:
            return None
        each = more.less(first).shared(many - few)
        return replace(each, shard_bytes=max(0.0, first.bytes - few * each.bytes))

    def _run(self, engine: LocalEngine, plans: Sequence["_ProbePlan"], j: int, copies: int) -> Cost | None:
        """Extract copies of a clip; return what that cost, of bytes and rows the first plan's."""
        first = j * _COPIES
        todo = {p.feature: [p.add(range(first, first + copies))] for p in plans}
        began = time.perf_counter()
        made = {m.plan.feature: m for m in engine.make(todo)}
        took = time.perf_counter() - began
        for name, shard in made.items():
            if not shard.record.failures:
                self.made[name][j] = (shard.plan.tasks[shard.shard].path.name, copies)
        own = made[plans[0].feature]
        if own.record.failures:
            return None
        rows = own.record.rows
        size = plans[0].written([own.shard]) - values_bytes(rows, plans[0].extractor.dim)
        return Cost(self.lengths[j], took, size, rows)


class _ProbePlan(Plan):
    """A plan whose shards are asked for one by one."""

    expected: int = 0

    @classmethod
    def of(cls, plan: Plan, takes: Takes, folder: Path, windows: int) -> "_ProbePlan":
        own = folder / plan.feature
        made = cls(
            plan.feature, plan.extractor, plan.identity, own, takes, [], {}, Verified(own), plan.source
        )
        made.expected = windows
        return made

    def add(self, clips: range) -> int:
        """Ask for a shard; return its position."""
        self.tasks.append(ShardTask(self.folder / shard_name(len(self.tasks)), clips, ""))
        return len(self.tasks) - 1

    def windows(self) -> int:
        """Return how many windows a whole run will have."""
        return self.expected


def peak_memory(workers: int) -> float:
    """Return the most bytes that this process took, and its largest child as often as there are workers."""
    unit = 1 if sys.platform == "darwin" else 1024
    own, child = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return float(own + workers * child) * unit
