"""What a plan foretells, kept as `plan.json` beside the experiment until a run can be held against it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pipeline.engine.plan import Plan
from pipeline.features import index_path
from pipeline.files import publish_json, read_json
from pipeline.store import identity_sha256
from pipeline.workspace import Workspace

_FILE = "plan.json"
_ENOUGH = 3  # points, of which one can be left out to see how well a straight line foretells it


@dataclass(frozen=True)
class Trend:
    """How something grows with the length of a clip: `fixed + per_second * seconds`, never below 0."""

    fixed: float
    per_second: float

    @classmethod
    def through(cls, seconds: Sequence[float], values: Sequence[float]) -> "Trend":
        """Find the trend of some clips.

        Of a line through the origin, a constant, and a straight line by least squares, the one is taken that
        foretells each of the clips best from the others; the first of them where that makes no difference.

        Args:
            seconds: Of each clip; at least one.
            values: What was measured of it.
        """
        x, y = np.array(seconds), np.array(values)
        kinds = [_proportional, _constant]
        if len(x) >= _ENOUGH and len(set(seconds)) >= _ENOUGH:
            kinds.append(_straight)
        if len(x) == 1:
            return _proportional(x, y)
        rest = [np.arange(len(x)) != i for i in range(len(x))]
        errors = [sum((kind(x[r], y[r]).at(x[~r][0]) - y[~r][0]) ** 2 for r in rest) for kind in kinds]
        return kinds[int(np.argmin(np.round(errors, 12)))](x, y)

    def at(self, seconds: float) -> float:
        """Return the value for a clip of some length."""
        return max(0.0, self.fixed + self.per_second * seconds)

    def sum(self, seconds: Sequence[float]) -> float:
        """Return the sum over clips."""
        return float(np.maximum(0.0, self.fixed + self.per_second * np.asarray(seconds)).sum())


def _proportional(x: Any, y: Any) -> Trend:
    return Trend(0.0, float(y.sum() / x.sum()) if x.sum() > 0 else 0.0)


def _constant(x: Any, y: Any) -> Trend:
    return Trend(float(y.mean()), 0.0)


def _straight(x: Any, y: Any) -> Trend:
    if np.ptp(x) == 0:
        return _constant(x, y)
    slope, fixed = np.polyfit(x, y, 1)
    return Trend(float(fixed), float(slope)) if slope >= 0 else _constant(x, y)


@dataclass(frozen=True)
class FeaturePlan:
    """What is foretold of one feature.

    Attributes:
        feature: Its name.
        clips: How many are to be done.
        there: How many are there already.
        rows: How many the clips to be done will give.
        gflop_per_row: 10^9 operations of the network; 0 if nobody counted them.
        seconds: Of work if nothing else runs.
        bytes: Of shards and records.
        identity_sha256: Of its extractor, and of that of the feature whose pictures it reads.
    """

    feature: str
    clips: int
    there: int
    rows: int
    gflop_per_row: float
    seconds: float
    bytes: float
    identity_sha256: str


@dataclass(frozen=True)
class WavePlan:
    """What is foretold of features that run together, each clip decoded once for all of them.

    Attributes:
        features: They.
        start: Seconds before the first clip: processes, networks, compiling.
        seconds: In all.
    """

    features: list[FeaturePlan]
    start: float
    seconds: float

    @property
    def bytes(self) -> float:
        """Of all features."""
        return sum(f.bytes for f in self.features)


@dataclass(frozen=True)
class Forecast:
    """A whole plan.

    Attributes:
        workers: Processes that it is for.
        waves: In their order.
        memory: The most bytes of memory that the probe took, all processes together.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    workers: int
    waves: list[WavePlan]
    memory: float

    @property
    def bytes(self) -> float:
        """Of everything that will be written."""
        return sum(wave.bytes for wave in self.waves)

    @property
    def seconds(self) -> float:
        """Of everything that will be done."""
        return sum(wave.seconds for wave in self.waves)

    def write(self, workspace: Workspace) -> Path:
        """Publish it as `plan.json`; return where."""
        path = workspace.folder / _FILE
        publish_json(path, asdict(self))
        return path

    def wave_of(self, plans: Sequence[Plan], workers: int) -> WavePlan | None:
        """Return what was foretold of just this work; None if it is other work, or done otherwise."""
        work = {p.feature: p for p in plans if p.todo}
        if not work or workers != self.workers:
            return None
        for wave in self.waves:
            told = {f.feature: f for f in wave.features if f.clips}
            if set(told) == set(work) and all(_same(told[name], work[name]) for name in work):
                return wave
        return None


def read_forecast(workspace: Workspace) -> Forecast | None:
    """Return the plan of an experiment; None if there is none that can be read."""
    value = read_json(workspace.folder / _FILE)
    try:
        return None if value is None else TypeAdapter(Forecast).validate_python(value)
    except ValidationError:
        return None


def planned_bytes(workspace: Workspace) -> float | None:
    """Return how many bytes the plan of an experiment says are still to be written; None without a plan."""
    forecast = read_forecast(workspace)
    if forecast is None:
        return None
    wanted = workspace.experiment.features  # what was planned may not be in it any more
    features = [f for wave in forecast.waves for f in wave.features if f.feature in wanted]
    return sum(f.bytes for f in features if not _is_there(workspace, f))


def _is_there(workspace: Workspace, told: FeaturePlan) -> bool:
    """Tell whether a feature was extracted as planned: its index comes when all of it is there."""
    index = read_json(index_path(workspace, told.feature))
    return index is not None and told.identity_sha256 == index.get("identity_sha256")


def held_against(wave: WavePlan, seconds: float, written: Mapping[str, int]) -> list[str]:
    """Return lines that hold what was foretold against what came.

    Args:
        wave: What was foretold.
        seconds: That the work took.
        written: Bytes that were written, by feature.
    """
    off = f" ({100 * (seconds / wave.seconds - 1):+.0f} %)" if wave.seconds > 0 else ""
    lines = [f"planned {time_text(wave.seconds)}, took {time_text(seconds)}{off}"]
    for told in wave.features:
        if told.feature in written:
            planned, wrote = size_text(told.bytes), size_text(written[told.feature])
            lines.append(f"{told.feature}: planned {planned}, wrote {wrote}")
    return lines


def time_text(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def size_text(size: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


def _same(told: FeaturePlan, plan: Plan) -> bool:
    clips = sum(len(plan.tasks[i].clips) for i in plan.todo)
    return told.clips == clips and told.identity_sha256 == identity_sha256(plan.identity)
