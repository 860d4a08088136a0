"""How sure a figure is: intervals, tests between two systems, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

DRAWS = 10_000
BINS = 15
_Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Calibration:
    """How far posteriors can be believed.

    Attributes:
        nll: Mean negative log-likelihood of the true class, in nats.
        brier: Mean over clips of the squared distance to the truth, summed over classes (0 to 2).
        ece: Expected calibration error of the likeliest class, equal-width bins (Guo et al. 2017).
        confidence: Mean posterior of the likeliest class.
    """

    nll: float
    brier: float
    ece: float
    confidence: float


@dataclass(frozen=True)
class McNemar:
    """The exact test of two systems on the same clips.

    Attributes:
        first_only: Clips that only the first has right.
        second_only: Clips that only the second has right.
        p: Two-sided.
    """

    first_only: int
    second_only: int
    p: float


def binomial_half_width(share: float, clips: int) -> float:
    """Return half the width of the normal 95 % interval of a share: 1.96 sqrt(p (1 - p) / n).

    It takes clips for independent, which clips of one subject are not; papers print it all the same.
    """
    return float(_Z * np.sqrt(share * (1 - share) / clips))


def subject_interval(values: NDArray[np.floating[Any]], subjects: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean over clips when subjects are drawn again.

    Args:
        values: `[N]`, such as 1 where a clip is right, or the difference of two systems.
        subjects: `[N]`; whole subjects are drawn with replacement, `DRAWS` times, seeded.
    """
    names, owner = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    sums = np.bincount(owner, weights=values.astype(np.float64), minlength=len(names))
    counts = np.bincount(owner, minlength=len(names))
    drawn = subject_draws(len(names))
    low, high = np.percentile((drawn @ sums) / (drawn @ counts), [2.5, 97.5])
    return float(low), float(high)


@lru_cache(maxsize=4)
def subject_draws(subjects: int) -> NDArray[np.int64]:
    """Return how often each subject is drawn, `[DRAWS, subjects]`."""
    rng = np.random.default_rng(0)
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=DRAWS)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Compare which clips two systems have right."""
    only, other = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(binomtest(only, only + other).pvalue) if only + other else 1.0
    return McNemar(only, other, p)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for being several, in their order.

    Holm 1979: the i-th smallest of m is multiplied by m - i + 1, and none may be below one before it.
    """
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in corrected]


def calibration(P: NDArray[np.float64], y: NDArray[np.int64]) -> Calibration:
    """Judge posteriors.

    Args:
        P: `[N, K]`.
        y: `[N]` class indices.
    """
    rows = np.arange(len(y))
    confidence, right = P.max(axis=1), P.argmax(axis=1) == y
    # Bins are open on the left; a confidence of 0 cannot be the highest of a distribution.
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    truth = np.eye(P.shape[1])[y]
    return Calibration(
        nll=float(-np.log(np.clip(P[rows, y], np.finfo(np.float64).tiny, None)).mean()),
        brier=float(((P - truth) ** 2).sum(axis=1).mean()),
        ece=float(np.abs(gaps).sum() / len(y)),
        confidence=float(confidence.mean()),
    )
