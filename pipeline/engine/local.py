"""Making shards on this machine: decode workers, one loop for the networks, shards in order."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from extractors.contract import WindowExtractor
from pipeline.engine.collect import Collector, Made
from pipeline.engine.decoder import work
from pipeline.engine.messages import Alive, Done, Failed, Item, Job, Limits, Setup
from pipeline.engine.plan import Plan
from pipeline.engine.pool import DecoderPool


class Listener(Protocol):
    """Who wants to know how the work goes."""

    def clip(self, job: Job, seconds: float | None, failures: Sequence[Failed]) -> None:
        """A clip of some length is through, for the features of the job."""

    def note(self, text: str) -> None:
        """Something that a user may want to read."""


@dataclass(frozen=True)
class Settings:
    """How to work; nothing in here changes a value.

    Attributes:
        workers: Decode processes.
        limits: Of one clip.
        probe: Do the first clip and the first batch of every feature twice, and compare.
    """

    workers: int
    limits: Limits = field(default_factory=Limits)
    probe: bool = True


class LocalEngine:
    """Makes shards with processes of this machine.

    Args:
        plans: The features.
        settings: How to work.
        listener: Told how it goes.
    """

    def __init__(self, plans: Sequence[Plan], settings: Settings, listener: Listener) -> None:
        self._plans = plans
        self._settings = settings
        self._listener = listener
        self._pool: DecoderPool | None = None
        self._unprobed = {p.feature for p in plans} if settings.probe else set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def make(self, todo: Mapping[str, Sequence[int]]) -> Iterator[Made]:
        """Make shards, each clip decoded once for all features; yield them as they are published.

        Args:
            todo: The shards to make by feature, in order.

        Raises:
            AffectstackError: If something concerns every clip, such as a missing program.
            StoreWriteError: If a shard cannot be written.
        """
        wanted = [p for p in self._plans if todo.get(p.feature)]
        for plan in wanted:
            if not plan.extractor.reads_media:
                yield from self._make([plan], todo, None)
        if away := [p for p in wanted if p.extractor.reads_media]:
            yield from self._make(away, todo, self._workers())

    def _workers(self) -> DecoderPool:
        """Return the decode workers. They get the extractors before these load their networks."""
        if self._pool is None:
            away = {p.feature: p.extractor for p in self._plans if p.extractor.reads_media}
            setup = Setup(away, self._settings.limits.bytes)
            self._pool = DecoderPool(setup, self._settings.workers, self._settings.limits)
        return self._pool

    def _make(
        self, plans: Sequence[Plan], todo: Mapping[str, Sequence[int]], pool: DecoderPool | None
    ) -> Iterator[Made]:
        names = {p.feature for p in plans}
        probe, self._unprobed = self._unprobed & names, self._unprobed - names
        collectors = {p.feature: Collector(p, todo[p.feature], p.feature in probe) for p in plans}
        for plan in plans:
            self._prepare(plan)
        jobs = _jobs(plans, todo, probe)
        for job, items in _inline(plans[0], jobs) if pool is None else pool.stream(jobs):
            failures = []
            for item in items:
                if isinstance(item, Failed):
                    failures.append(item)
                if not isinstance(item, Done | Alive):
                    collectors[item.feature].take(job.position, item)
            self._listener.clip(job, plans[0].takes.seconds(job.position), failures)
            for feature in job.features:
                if made := collectors[feature].end(job.position, job.take):
                    yield made
        for feature, collector in collectors.items():
            if effort := collector.effort:
                self._listener.note(f"{feature}: {effort}")

    def _prepare(self, plan: Plan) -> None:
        plan.extractor.prepare()
        if isinstance(plan.extractor, WindowExtractor) and (note := plan.extractor.speed_up(plan.windows())):
            self._listener.note(f"{plan.feature}: {note}")


def _jobs(plans: Sequence[Plan], todo: Mapping[str, Sequence[int]], probe: set[str]) -> Iterator[Job]:
    """Yield one job per clip that any feature wants, in the order of the manifest."""
    wanted: dict[int, list[str]] = defaultdict(list)
    for plan in plans:
        for shard in todo[plan.feature]:
            for clip in plan.tasks[shard].clips:
                wanted[clip].append(plan.feature)
    unprobed = set(probe)
    for clip in sorted(wanted):
        features = tuple(wanted[clip])
        yield Job(clip, plans[0].takes[clip], features, tuple(unprobed.intersection(features)))
        unprobed.difference_update(features)


def _inline(plan: Plan, jobs: Iterator[Job]) -> Iterator[tuple[Job, Iterator[Item]]]:
    """Do jobs in this process: an extractor that only looks things up needs no other."""
    setup = Setup({plan.feature: plan.extractor}, 0)
    for job in jobs:
        take = replace(job.take, clip=replace(job.take.clip, stored=plan.stored(job.take.key)))
        yield job, work(replace(job, take=take), setup)  # who hears of the job needs no pictures


def memory_per_worker(workers: int) -> int:
    """Return how many bytes a decode process may take: its share of 4/5 of the machine, at most 8 GB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(8 << 30, total * 4 // 5 // workers)
