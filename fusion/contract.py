"""What a fuser takes and gives."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

Scale = Literal["none", "minmax", "standard"]
_FLOOR = 1e-6


class Fuser(BaseEstimator):
    """Combines the posteriors of several sources.

    Attributes:
        trainable: False for rules, which need no training rows.
        raw: True to be given what the models themselves gave, logits where those are known, in place of
            posteriors.
    """

    trainable: bool = True
    raw: ClassVar[bool] = False

    @abstractmethod
    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64], groups: Sequence[str] | None = None) -> Self:
        """Learn from rows whose models had not seen the rows' subjects.

        Args:
            P: `[N, S, K]` posteriors of S sources, classes in one order.
            y: `[N]` class indices.
            groups: `[N]` subjects; whatever a fuser chooses on held-out rows, it holds out by subject.
        """

    @abstractmethod
    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[N, K]` fused posteriors."""

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


def log_posteriors(P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logarithms, floored so that one source's zero is no veto for ever."""
    return np.log(np.clip(P, _FLOOR, 1.0))
