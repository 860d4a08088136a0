"""How well predicted values agree with true ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def concordance(prediction: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Return Lin's concordance correlation coefficient (Lin 1989, Biometrics 45) along axis 0.

    2 cov(p, t) / (var p + var t + (mean p - mean t)^2) with population variances (SYSTEMS 5.4): 1 where both
    are equal, and 0 where one of them is constant.

    Args:
        prediction: `[N, ...]`.
        truth: The same shape.

    Returns:
        `[...]`, an array without dimensions for two vectors.

    Raises:
        ValueError: If the shapes differ, or there is no row.
    """
    p, t = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != t.shape or not len(p):
        raise ValueError(f"predictions of shape {list(p.shape)} for truths of shape {list(t.shape)}")
    means = p.mean(axis=0), t.mean(axis=0)
    centred = p - means[0], t - means[1]
    covariance = (centred[0] * centred[1]).mean(axis=0)
    spread = (centred[0] ** 2).mean(axis=0) + (centred[1] ** 2).mean(axis=0)
    return concordance_of_moments(covariance, spread, means[0] - means[1])


def concordance_of_moments(
    covariance: NDArray[np.float64], variances: NDArray[np.float64], apart: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the coefficient of a covariance, a sum of two variances and a difference of two means.

    All are arrays of one shape; it is 0 where neither prediction nor truth varies.
    """
    whole = np.asarray(variances + apart**2, dtype=np.float64)
    return np.divide(2 * covariance, whole, out=np.zeros_like(whole), where=whole > 0)
