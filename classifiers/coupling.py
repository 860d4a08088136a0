"""Class posteriors from pairwise decisions.

A sigmoid per pair of classes (Platt 1999, with the smoothed targets of Lin, Lin and Weng 2007), and the
coupling of the pairwise probabilities into one distribution (Wu, Lin and Weng 2004, second method).
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

_EPSILON = 1e-7


def pairs(classes: int) -> list[tuple[int, int]]:
    """Return the pairs of classes in the order of one-versus-one decision columns."""
    return list(combinations(range(classes), 2))


def fit_sigmoids(decisions: NDArray[np.float64], y: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Fit P(first class | decision) of every pair on held-out decisions.

    Args:
        decisions: `[N, P]`, one column per pair.
        y: `[N]` class indices.
        classes: K.

    Returns:
        `[P, 2]` slope and offset.
    """
    first, second = np.array(pairs(classes)).T
    is_first, is_second = y[:, None] == first, y[:, None] == second
    counts = is_first.sum(axis=0), is_second.sum(axis=0)
    targets = np.where(is_first, (counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2))
    used = (is_first | is_second).astype(np.float64)
    spread = np.sqrt((used * decisions**2).sum(axis=0) / np.maximum(used.sum(axis=0), 1))
    spread[spread == 0] = 1.0  # a pair that nothing is known about keeps its decisions as they are
    scaled = decisions / spread

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, offset = flat.reshape(2, -1)
        logits = slope * scaled + offset
        # -t log s(z) - (1 - t) log(1 - s(z)) = log(1 + e^z) - t z
        value = used * (np.logaddexp(0, logits) - targets * logits)
        gradient = used * (expit(logits) - targets)
        return value.sum(), np.concatenate([(gradient * scaled).sum(axis=0), gradient.sum(axis=0)])

    begin = np.concatenate([np.ones(len(first)), np.zeros(len(first))])
    slope, offset = minimize(loss, begin, jac=True, method="L-BFGS-B").x.reshape(2, -1)
    return np.column_stack([slope / spread, offset])


def couple(
    decisions: NDArray[np.float64], sigmoids: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Return `[N, K]` posteriors of `[N, P]` pairwise decisions.

    With r[i, j] = P(i | i or j), the posterior p minimises the sum over pairs of
    (r[j, i] p[i] - r[i, j] p[j])^2 under sum(p) = 1: one linear system per clip.
    """
    first, second = np.array(pairs(classes)).T
    r = np.zeros((len(decisions), classes, classes))
    probability = np.clip(expit(decisions * sigmoids[:, 0] + sigmoids[:, 1]), _EPSILON, 1 - _EPSILON)
    r[:, first, second] = probability
    r[:, second, first] = 1 - probability
    diagonal = np.arange(classes)
    system = np.zeros((len(decisions), classes + 1, classes + 1))
    system[:, :classes, :classes] = -r.transpose(0, 2, 1) * r
    system[:, diagonal, diagonal] = (r**2).sum(axis=1) + 1e-12
    system[:, :classes, classes] = system[:, classes, :classes] = 1
    right = np.zeros((len(decisions), classes + 1, 1))
    right[:, classes] = 1
    p = np.clip(np.linalg.solve(system, right)[:, :classes, 0], _EPSILON, None)
    return p / p.sum(axis=1, keepdims=True)
