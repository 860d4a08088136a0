"""The logarithmic opinion pool."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from fusion.contract import Fuser, log_posteriors
from fusion.join import FusionError
from fusion.registry import FUSERS


@FUSERS.register("logpool")
class LogPool(Fuser):
    """p(k) proportional to exp(b[k] + sum over sources of w[s] * log p_s(k)).

    One weight per source and one bias per class, by maximum likelihood. Weights are not negative; a weak
    prior draws weights to 1 and biases to 0, which is the product rule.

    Args:
        prior: Its strength, as a share of one row's log-likelihood per parameter.

    Attributes:
        weights_: `[S]`.
        biases_: `[K]`.
    """

    def __init__(self, prior: float = 1.0) -> None:
        self.prior = prior

    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64], groups: Sequence[str] | None = None) -> Self:
        """Maximise the likelihood of the training rows."""
        rows, sources, classes = P.shape
        logs = np.ascontiguousarray(log_posteriors(P).transpose(1, 0, 2)).reshape(sources, rows * classes)
        truth = np.eye(classes)[y]
        centre = np.concatenate([np.ones(sources), np.zeros(classes)])

        def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logits = (parameters[:sources] @ logs).reshape(rows, classes) + parameters[sources:]
            logits -= logits.max(axis=1, keepdims=True)
            shares = np.exp(logits)
            sums = shares.sum(axis=1, keepdims=True)
            excess = shares / sums - truth
            gradient = np.concatenate([logs @ excess.ravel(), excess.sum(axis=0)])
            away = parameters - centre
            value = np.log(sums).sum() - logits[truth > 0].sum() + self.prior * (away**2).sum()
            return value / rows, (gradient + 2 * self.prior * away) / rows

        bounds = [(0.0, None)] * sources + [(None, None)] * classes
        best = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
        self.weights_, self.biases_ = best[:sources], best[sources:]
        return self

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pool the sources."""
        if P.shape[1:] != (len(self.weights_), len(self.biases_)):
            raise FusionError(
                f"fusion: a pool of {len(self.weights_)} sources and {len(self.biases_)} classes was given "
                f"{P.shape[1]} and {P.shape[2]}"
            )
        logits = np.einsum("s,nsk->nk", self.weights_, log_posteriors(P)) + self.biases_
        pooled: NDArray[np.float64] = softmax(logits, axis=1)
        return pooled

    def source_weights(self) -> NDArray[np.float64]:
        """Return the exponents of the sources."""
        return self.weights_
