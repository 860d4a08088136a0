"""Measuring two ways of doing one thing in turn, in one run: single times mean little on a busy machine."""

import json
import statistics
import sys
import time
from collections.abc import Callable


def compare(
    name: str,
    ours: Callable[[], object],
    baseline: Callable[[], object],
    *,
    rounds: int = 5,
    warm: bool = True,
) -> None:
    """Print one JSON line: median seconds of both sides, and how many times faster ours is.

    Args:
        name: What is measured.
        ours: One run of our way.
        baseline: One run of the way that a user would write today.
        rounds: Runs of each.
        warm: Run each once before.
    """
    times: dict[Callable[[], object], list[float]] = {ours: [], baseline: []}
    for turn in range(rounds + warm):
        for side, measured in times.items():
            began = time.perf_counter()
            side()
            if turn >= warm:
                measured.append(time.perf_counter() - began)
    say(name, statistics.median(times[ours]), statistics.median(times[baseline]))


def best(action: Callable[[], object], rounds: int = 3) -> float:
    """Return the least seconds of some runs."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)


def say(name: str, ours: float, baseline: float, unit: str = "s") -> None:
    """Print one JSON line; the ratio says how many times less ours is."""
    ratio = round(baseline / ours, 2) if ours else None
    line = {"name": name, "ours": _short(ours), "baseline": _short(baseline), "ratio": ratio, "unit": unit}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _short(value: float) -> float:
    return float(f"{value:.4g}")
