"""Stacking: a classifier on the sources' posteriors, side by side."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusion.contract import Fuser, log_posteriors
from fusion.join import FusionError


class Stacker(Fuser):
    """A scikit-learn classifier whose features are `S * K` log-posteriors."""

    @abstractmethod
    def estimator(self, columns: int, y: NDArray[np.int64], groups: Sequence[str] | None) -> Any:
        """Return the unfitted classifier for training rows with so many columns."""

    def columns(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the features `[N, S * K]`."""
        return log_posteriors(P).reshape(len(P), -1)

    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64], groups: Sequence[str] | None = None) -> Self:
        """Fit on the training rows."""
        if len(np.unique(y)) < 2:
            raise FusionError("fusion: the training rows are of one class; expected at least 2")
        self.classes_ = P.shape[2]
        data = self.columns(P)
        try:
            self.model_ = self.estimator(data.shape[1], y, groups).fit(data, y)
        except ValueError as error:
            raise FusionError(f"fusion: scikit-learn refuses: {' '.join(str(error).split())}") from error
        return self

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return posteriors; a class that no training row had gets 0."""
        fused = np.zeros((len(P), self.classes_))
        fused[:, self.model_.classes_] = self.model_.predict_proba(self.columns(P))
        return fused
