"""Making shards on a Ray cluster: actors hold the networks, shards are the unit, doing one twice is harmless.

The folder of the experiment and the corpus must be at the same path on all nodes.
"""

import logging
import socket
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from affectstack import AffectstackError
from extractors.contract import WindowExtractor
from pipeline.engine.collect import Made
from pipeline.engine.local import Listener, LocalEngine, Settings
from pipeline.engine.messages import Failed, Job
from pipeline.engine.plan import Plan
from pipeline.options import ConfigError
from pipeline.store import Record

_TRIES = 4
_PATIENCE = 5.0  # seconds between looks at the actors


class ClusterError(AffectstackError):
    """The cluster lost the same shards again and again."""


@dataclass(frozen=True)
class Unit:
    """What an actor is asked for at once: shards of the same clips, by feature."""

    shards: Mapping[str, int]


@dataclass
class Outcome:
    """What an actor did."""

    made: list[tuple[str, int, Record]]
    clips: list[tuple[Job, float | None, list[Failed]]]
    notes: list[str]


class ShardMaker:
    """What runs in an actor: a local engine with one decode worker.

    Args:
        plans: As the driver made them.
        settings: How to work.
    """

    def __init__(self, plans: Sequence[Plan], settings: Settings) -> None:
        self._outcome = Outcome([], [], [])
        self._plans = plans
        self._settings = settings
        self._engine: LocalEngine | None = None

    def start(self) -> None:
        """Answer when the actor is there."""

    def make(self, unit: Unit) -> Outcome:
        """Make the shards of a unit."""
        if self._engine is None:
            self._engine = LocalEngine(self._plans, self._settings, self)
        self._outcome = outcome = Outcome([], [], [])
        for made in self._engine.make({feature: [shard] for feature, shard in unit.shards.items()}):
            outcome.made.append((made.plan.feature, made.shard, made.record))
        return outcome

    def clip(self, job: Job, seconds: float | None, failures: Sequence[Failed]) -> None:
        """Keep what the driver will want to know."""
        self._outcome.clips.append((job, seconds, list(failures)))

    def note(self, text: str) -> None:
        """Keep a line for the driver."""
        self._outcome.notes.append(text)


class RayEngine:
    """Makes shards with the actors of a Ray cluster; shards that a dead node was on are made elsewhere.

    Args:
        plans: The features.
        settings: How to work; `workers` is the number of actors, 0 is one per CPU of the cluster.
        listener: Told how it goes.
        address: Of the cluster, as `ray.init` takes it.

    Raises:
        ConfigError: If Ray is not installed or there is no cluster.
    """

    def __init__(self, plans: Sequence[Plan], settings: Settings, listener: Listener, address: str) -> None:
        self._plans = {p.feature: p for p in plans}
        self._settings = settings
        self._listener = listener
        self._address = address

    def __enter__(self) -> Self:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                "--engine ray needs Ray; install it with: pip install 'affectstack[ray]'"
            ) from error
        try:
            _knock(self._address)
            ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ConfigError(
                f"--engine ray: no cluster at {self._address!r} ({reason}). Start one with: ray start --head"
            ) from error
        self._ray: Any = ray
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def make(self, todo: Mapping[str, Sequence[int]]) -> Iterator[Made]:
        """Make shards; yield them as they are published, in any order.

        Raises:
            AffectstackError: If something concerns every clip.
            ClusterError: If the same shards were lost several times.
        """
        waiting = deque((unit, 1) for unit in units([self._plans[f] for f in todo], todo))
        count = min(len(waiting), self._settings.workers or int(self._ray.cluster_resources().get("CPU", 1)))
        plans = self._ray.put(list(self._plans.values()))
        # By what is awaited: the actor, and the unit that it is on (None while it starts).
        running: dict[Any, tuple[Any, tuple[Unit, int] | None]] = {}
        for _ in range(count):
            self._start(plans, running)
        while waiting or any(task for _, task in running.values()):
            ready, _ = self._ray.wait(list(running), num_returns=1, timeout=_PATIENCE)
            for answer in ready:
                actor, task = running.pop(answer)
                try:
                    outcome = self._ray.get(answer)
                except self._ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, AffectstackError) else error  # noqa: B904
                except self._ray.exceptions.RayError as error:
                    self._lost(task, waiting, error)
                    self._start(plans, running)
                    continue
                if task is not None:
                    yield from self._take(outcome)
                if waiting:
                    task = waiting.popleft()
                    running[actor.make.remote(task[0])] = (actor, task)

    def _start(self, plans: Any, running: dict[Any, tuple[Any, tuple[Unit, int] | None]]) -> None:
        """Start an actor; it gets work once it answers, which a full cluster may delay."""
        gpus = int(
            self._ray.cluster_resources().get("GPU", 0) > 0
            and any(isinstance(p.extractor, WindowExtractor) for p in self._plans.values())
        )
        kind = self._ray.remote(num_cpus=1, num_gpus=gpus)(ShardMaker)
        actor = kind.remote(plans, replace(self._settings, workers=1))
        running[actor.start.remote()] = (actor, None)

    def _lost(
        self, task: tuple[Unit, int] | None, waiting: deque[tuple[Unit, int]], error: Exception
    ) -> None:
        """Put the unit of a dead actor back."""
        if task is None:
            return
        unit, tries = task
        reason = " ".join(str(error).split())[:160]
        if tries == _TRIES:
            raise ClusterError(f"lost shards {dict(unit.shards)} {tries} times, the last time: {reason}")
        self._listener.note(f"lost an actor ({reason}); its shards {dict(unit.shards)} are made again")
        waiting.appendleft((unit, tries + 1))

    def _take(self, outcome: Outcome) -> Iterator[Made]:
        for text in outcome.notes:
            self._listener.note(text)
        for clip in outcome.clips:
            self._listener.clip(*clip)
        for feature, shard, record in outcome.made:
            yield Made(self._plans[feature], shard, record)


def _knock(address: str) -> None:
    """Find out whether anybody listens at a plain `host:port`; Ray itself would wait for minutes.

    Raises:
        OSError: If nobody does.
    """
    host, colon, port = address.rpartition(":")
    if colon and "/" not in address and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def units(plans: Sequence[Plan], todo: Mapping[str, Sequence[int]]) -> list[Unit]:
    """Return what to ask actors for: shards of different features together where their clips are the same."""
    alike: dict[range, dict[str, int]] = defaultdict(dict)
    for plan in plans:
        for shard in todo[plan.feature]:
            alike[plan.tasks[shard].clips][plan.feature] = shard
    return [Unit(shards) for _, shards in sorted(alike.items(), key=lambda pair: pair[0].start)]
