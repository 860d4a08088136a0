"""Rules that need no training."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fusion.contract import Fuser, log_posteriors
from fusion.registry import FUSERS


class Rule(Fuser):
    """A fuser that has nothing to learn."""

    trainable: ClassVar[bool] = False

    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64]) -> Self:
        """Do nothing."""
        return self


@FUSERS.register("mean")
class Mean(Rule):
    """The arithmetic mean of the posteriors."""

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average over sources."""
        return P.mean(axis=1)


@FUSERS.register("product")
class Product(Rule):
    """The normalised product of the posteriors: independent evidence under a flat prior."""

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply over sources."""
        fused: NDArray[np.float64] = softmax(log_posteriors(P).sum(axis=1), axis=1)
        return fused
