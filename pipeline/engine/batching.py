"""Batches across the clips of a shard, formed in the order of the shard whoever runs it."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from extractors.contract import BadFeaturesError, FloatArray, LimitExceededError, Window, WindowExtractor
from pipeline.engine.aside import Aside

_TOLERANCE = 1e-3  # of the largest value; a network on a GPU need not repeat itself to the last bit


class Batcher:
    """Collects windows, and embeds them when there are enough for good batches.

    What is embedded together depends on the shard's windows and their order alone, so that a shard has the
    same bytes whoever makes it.

    Args:
        extractor: Prepared.
        probe: Embed the first batch twice, and compare.

    Attributes:
        windows: How many were embedded; empty ones are not counted, those of the first batch not twice.
        seconds: How long that took.
    """

    def __init__(self, extractor: WindowExtractor, probe: bool) -> None:
        self._extractor = extractor
        self._waiting: list[tuple[Any, Window]] = []
        self._probe = probe
        self._aside = Aside()
        self.windows, self.seconds = 0, 0.0

    def add(self, tag: Any, window: Window) -> Iterator[tuple[Any, Window, FloatArray | LimitExceededError]]:
        """Take a window; yield what was embedded, with its tag."""
        self._waiting.append((tag, window))
        if len(self._waiting) >= self._extractor.look_ahead:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[Any, Window, FloatArray | LimitExceededError]]:
        """Embed what still waits."""
        waiting, self._waiting = self._waiting, []
        for batch in self._extractor.batches([window for _, window in waiting]):
            windows = [waiting[i][1] for i in batch]
            for i, rows in zip(batch, self._embed(windows), strict=True):
                kept = rows if isinstance(rows, LimitExceededError) else self._aside.keep(rows)
                yield waiting[i][0], waiting[i][1].emptied(), kept

    def _embed(self, windows: Sequence[Window]) -> Sequence[FloatArray | LimitExceededError]:
        began = time.perf_counter()
        rows = self._fitting(windows)
        self.seconds += time.perf_counter() - began
        self.windows += sum(window.data.size > 0 for window in windows)
        if self._probe:
            self._probe = False
            for once, again in zip(rows, self._fitting(windows), strict=True):
                _refuse_other(once, again)
        return rows

    def _fitting(self, windows: Sequence[Window]) -> Sequence[FloatArray | LimitExceededError]:
        """Embed a batch; if the device has too little memory for it, in halves."""
        import torch

        try:
            return self._extractor.embed(windows)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        if len(windows) == 1:
            return [LimitExceededError("a single window does not fit into the memory of the GPU")]
        half = len(windows) // 2
        return [*self._fitting(windows[:half]), *self._fitting(windows[half:])]


def _refuse_other(once: FloatArray | LimitExceededError, again: FloatArray | LimitExceededError) -> None:
    if isinstance(once, LimitExceededError) or isinstance(again, LimitExceededError):
        return
    if once.shape != again.shape or _differ(once, again):
        raise BadFeaturesError(
            "two runs over the same windows gave different values; an extractor must be deterministic"
        )


def _differ(once: FloatArray, again: FloatArray) -> bool:
    largest = float(np.abs(once).max(initial=0.0))
    return float(np.abs(once - again).max(initial=0.0)) > _TOLERANCE * largest
