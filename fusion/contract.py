"""What a fuser takes and gives."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

Scale = Literal["none", "minmax", "standard"]
_FLOOR = 1e-6


class Combiner(BaseEstimator):
    """Combines what several sources say of a clip, be it posteriors or values.

    Attributes:
        trainable: False for rules, which need no training rows.
        raw: True to be given what the models themselves gave, logits where those are known, in place of
            posteriors.
    """

    trainable: bool = True
    raw: ClassVar[bool] = False

    @abstractmethod
    def fit(self, P: NDArray[np.float64], y: NDArray[Any], groups: Sequence[str] | None = None) -> Self:
        """Learn from rows whose models had not seen the rows' subjects.

        Args:
            P: `[N, S, K]` posteriors, or values, of S sources, classes or attributes in one order.
            y: `[N]` class indices, or `[N, K]` values.
            groups: `[N]` subjects; whatever a fuser chooses on held-out rows, it holds out by subject.
        """

    @abstractmethod
    def combine(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[N, K]`, what the sources say together."""

    def check(self, sources: int) -> None:  # most have nothing to say
        """Refuse a number of sources that the settings do not fit.

        Raises:
            FusionError: If they do not.
        """

    def source_weights(self) -> NDArray[np.float64] | None:  # most have none
        """Return `[S]`, how much each source counts, where the fuser, fitted, has one number for each."""
        return None

    def of(self, sources: Sequence[int]) -> Self:
        """Return an unfitted copy for some of the sources, by position: for clips that lack the others."""
        copy: Any = clone(self)
        return copy


class Fuser(Combiner):
    """Combines the posteriors of several sources."""

    @abstractmethod
    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[N, K]` fused posteriors."""

    def combine(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fused posteriors."""
        return self.predict_proba(P)


class ValueFuser(Combiner):
    """Combines the values that several sources predict."""

    @abstractmethod
    def predict_values(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[N, A]` fused values."""

    def combine(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fused values."""
        return self.predict_values(P)

    def attribute_weights(self) -> NDArray[np.float64] | None:  # some have one weight for all attributes
        """Return `[S, A]`, how much each source counts for each attribute, where the fuser learned that."""
        return None


def log_posteriors(P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logarithms, floored so that one source's zero is no veto for ever."""
    return np.log(np.clip(P, _FLOOR, 1.0))
