"""What a fuser takes and gives."""

from abc import abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

_FLOOR = 1e-6


class Fuser(BaseEstimator):
    """Combines the posteriors of several sources.

    Attributes:
        trainable: False for rules, which need no training rows.
    """

    trainable: ClassVar[bool] = True

    @abstractmethod
    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64]) -> Self:
        """Learn from rows whose models had not seen the rows' subjects.

        Args:
            P: `[N, S, K]` posteriors of S sources, classes in one order.
            y: `[N]` class indices.
        """

    @abstractmethod
    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[N, K]` fused posteriors."""


def log_posteriors(P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logarithms, floored so that one source's zero is no veto for ever."""
    return np.log(np.clip(P, _FLOOR, 1.0))
