"""Rules that need no training."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fusion.contract import Combiner, Fuser, log_posteriors
from fusion.join import FusionError
from fusion.registry import FUSERS


class Rule(Fuser):
    """A fuser that has nothing to learn."""

    trainable = False

    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64], groups: Sequence[str] | None = None) -> Self:
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


@FUSERS.register("max")
class Max(Rule):
    """The highest posterior that any source gives a class, normalised."""

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take the highest over sources."""
        highest = P.max(axis=1)
        return highest / highest.sum(axis=1, keepdims=True)


@FUSERS.register("vote")
class Vote(Rule):
    """The share of sources whose likeliest class it is; among equals, the mean posterior decides."""

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Count votes; the mean posterior weighs less than half a vote."""
        sources, classes = P.shape[1:]
        votes = np.eye(classes)[P.argmax(axis=2)].sum(axis=1)
        return (votes + 0.5 * P.mean(axis=1)) / (sources + 0.5)


class WeightedMean(Combiner):
    """The weighted arithmetic mean of what the sources say.

    Args:
        weights: One per source, in the order of `sources`; they are normalised. Empty: all equal.
    """

    trainable = False

    def __init__(self, weights: Sequence[float] = ()) -> None:
        self.weights = weights

    def averaged(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[N, K]`, the average over sources."""
        weights = np.asarray(self.weights or np.ones(P.shape[1]), dtype=np.float64)
        if len(weights) != P.shape[1] or (weights < 0).any() or weights.sum() <= 0:
            raise FusionError(
                f"fusion: weights {list(self.weights)} for {P.shape[1]} sources; expected one per source, "
                "none negative, not all 0"
            )
        fused: NDArray[np.float64] = np.einsum("s,nsk->nk", weights / weights.sum(), P)
        return fused

    def source_weights(self) -> NDArray[np.float64] | None:
        """Return the weights, normalised, if there are any."""
        weights = np.asarray(self.weights, dtype=np.float64)
        return weights / weights.sum() if self.weights else None

    def check(self, sources: int) -> None:
        """Refuse weights that are not one per source."""
        if self.weights and len(self.weights) != sources:
            raise FusionError(
                f"fusion: {len(self.weights)} weights for {sources} sources; expected one per source"
            )

    def of(self, sources: Sequence[int]) -> Self:
        """Return the rule with the weights of these sources."""
        self.check(max(len(self.weights), max(sources) + 1))
        return type(self)([self.weights[s] for s in sources] if self.weights else ())


@FUSERS.register("weighted")
class Weighted(WeightedMean, Rule):
    """The weighted arithmetic mean of the posteriors; arguments are those of `WeightedMean`."""

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average over sources."""
        return self.averaged(P)
