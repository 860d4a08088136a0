"""Stacking of values: a linear combination of the sources."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from fusion.contract import ValueFuser
from fusion.join import FusionError
from fusion.registry import VALUE_FUSERS


@VALUE_FUSERS.register("linear")
class LinearValues(ValueFuser):
    """value = b + sum over sources of w[s] * value_s, for each attribute by itself.

    Least squares with weights that are not negative (Breiman 1996, Stacked Regressions) and a free intercept.

    Attributes:
        weights_: `[S, A]`.
        intercepts_: `[A]`.
    """

    def fit(self, P: NDArray[np.float64], y: NDArray[Any], groups: Sequence[str] | None = None) -> Self:
        """Solve the least squares of the training rows."""
        truth = np.asarray(y, dtype=np.float64)
        # With both sides centred the intercept drops out, so that only weights are bounded.
        middle, target = P.mean(axis=0), truth.mean(axis=0)
        centred = P - middle
        found = [nnls(centred[:, :, a], truth[:, a] - target[a])[0] for a in range(P.shape[2])]
        self.weights_ = np.stack(found, axis=1)
        self.intercepts_ = target - (self.weights_ * middle).sum(axis=0)
        return self

    def predict_values(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Combine the sources."""
        if P.shape[1:] != self.weights_.shape:
            sources, attributes = self.weights_.shape
            raise FusionError(
                f"fusion: a combination of {sources} sources and {attributes} attributes was given "
                f"{P.shape[1]} and {P.shape[2]}"
            )
        fused: NDArray[np.float64] = np.einsum("sa,nsa->na", self.weights_, P) + self.intercepts_
        return fused

    def attribute_weights(self) -> NDArray[np.float64]:
        """Return the weights."""
        return self.weights_
