"""Rows of a feature at other times: a part of a clip, and another rate."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from extractors import Features


def cut(features: Features, seconds: float, centre: bool) -> Features | None:
    """Return what lies in the first, or the middle, so many seconds; None where that is all.

    A row belongs to the part if its middle does.

    Args:
        features: `[T, D]`.
        seconds: How long the part is.
        centre: Whether it is the middle.
    """
    begin, end = float(features.intervals[0, 0]), float(features.intervals[-1, 1])
    if end - begin <= seconds:
        return None
    first = begin + (end - begin - seconds) / 2 if centre else begin
    middles = features.intervals.mean(axis=1)
    kept = (middles >= first) & (middles < first + seconds)
    if kept.all():  # a row reaches past the end, and its middle does not
        return None
    if not kept.any():  # rows that are longer than the part
        kept[int(np.abs(middles - first - seconds / 2).argmin())] = True
    return Features(features.values[kept], features.intervals[kept], features.valid[kept], features.silent)


def at_rate(features: Features, rate: float) -> Features:
    """Return rows of equal length, each the mean of the valid rows that lie in it, by their share of it.

    Args:
        features: `[T, D]`.
        rate: Rows per second. The first begins where the first row does; a last one of less than half its
            length is left out, if it is not the only one.

    Returns:
        `[T', D]`; rows that no valid row reaches into are zeros, and not valid.
    """
    begin, end = float(features.intervals[0, 0]), float(features.intervals[-1, 1])
    count = max(int(np.floor((end - begin) * rate + 0.5)), 1)
    edges = begin + np.arange(count + 1) / rate
    shares = _overlap(features.intervals, edges)[features.valid]  # [rows that count, T']
    total = np.asarray(shares.sum(axis=0)).ravel()
    there = total > 0
    values = np.zeros((count, features.values.shape[1]), dtype=np.float32)
    sums = shares.T @ features.values[features.valid].astype(np.float64)
    values[there] = sums[there] / total[there, None]
    return Features(values, np.column_stack([edges[:-1], edges[1:]]), there, features.silent)


def _overlap(intervals: NDArray[np.float64], edges: NDArray[np.float64]) -> csr_array:
    """Return `[T, T']`, seconds that intervals and cells have in common; an instant counts where it lies."""
    cells, begin, step = len(edges) - 1, edges[0], edges[1] - edges[0]
    first = np.clip(np.floor((intervals[:, 0] - begin) / step).astype(int) - 1, 0, cells - 1)
    last = np.clip(np.ceil((intervals[:, 1] - begin) / step).astype(int) + 1, 1, cells)
    spans = last - first
    row = np.repeat(np.arange(len(intervals)), spans)
    cell = np.arange(len(row)) - np.repeat(np.cumsum(spans) - spans, spans) + np.repeat(first, spans)
    starts, ends, low, high = intervals[row, 0], intervals[row, 1], edges[cell], edges[cell + 1]
    common = np.maximum(np.minimum(ends, high) - np.maximum(starts, low), 0)
    common += 1e-9 * ((starts == ends) & (starts >= low) & (starts < high))
    return csr_array((common, (row, cell)), shape=(len(intervals), cells))
