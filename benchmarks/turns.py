"""Measuring two ways of doing one thing in turn, in one run: single times mean little on a busy machine."""

import json
import statistics
import sys
import time
from collections.abc import Callable


def compare(
    name: str, ours: Callable[[], object], baseline: Callable[[], object], *, rounds: int = 5
) -> None:
    """Print one JSON line: median seconds of both sides, and how many times faster ours is.

    Args:
        name: What is measured.
        ours: One run of our way.
        baseline: One run of the way that a user would write today.
        rounds: Runs of each, after one of each to warm up.
    """
    times: dict[Callable[[], object], list[float]] = {ours: [], baseline: []}
    for turn in range(rounds + 1):
        for side, measured in times.items():
            began = time.perf_counter()
            side()
            if turn:
                measured.append(time.perf_counter() - began)
    a, b = statistics.median(times[ours]), statistics.median(times[baseline])
    line = {"name": name, "ours": round(a, 4), "baseline": round(b, 4), "ratio": round(b / a, 2), "unit": "s"}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
