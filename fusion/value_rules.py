"""Rules for values that need no training."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusion.contract import ValueFuser
from fusion.registry import VALUE_FUSERS
from fusion.rules import WeightedMean


class ValueRule(ValueFuser):
    """A fuser of values that has nothing to learn."""

    trainable = False

    def fit(self, P: NDArray[np.float64], y: NDArray[Any], groups: Sequence[str] | None = None) -> Self:
        """Do nothing."""
        return self


@VALUE_FUSERS.register("mean")
class MeanValues(ValueRule):
    """The arithmetic mean of the values."""

    def predict_values(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average over sources."""
        return P.mean(axis=1)


@VALUE_FUSERS.register("weighted")
class WeightedValues(WeightedMean, ValueRule):
    """The weighted arithmetic mean of the values; arguments are those of `WeightedMean`."""

    def predict_values(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average over sources."""
        return self.averaged(P)
