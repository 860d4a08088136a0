"""Heads that are one scikit-learn estimator behind a scaler."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from classifiers.contract import FloatArray, Scale, StaticHead, check_classes, make_scaler


class ScikitHead(StaticHead):
    """Scale, then let a scikit-learn classifier with `predict_proba` do the rest."""

    scale: Scale

    @abstractmethod
    def estimator(self) -> BaseEstimator:
        """Return the unfitted estimator."""

    def fit(self, X: FloatArray, y: Sequence[str], groups: Sequence[str] | None = None) -> Self:
        """Fit scaler and estimator; nothing is held out, so `groups` is not needed."""
        self.classes_, _ = check_classes(y)
        self.scaler_ = make_scaler(self.scale)
        data = np.asarray(X, dtype=np.float64)
        data = data if self.scaler_ is None else self.scaler_.fit_transform(data)
        self.estimator_: Any = self.estimator().fit(data, np.asarray(y, dtype=str))
        return self

    def predict_proba(self, X: FloatArray) -> NDArray[np.float64]:
        """Return the estimator's posteriors."""
        data = np.asarray(X, dtype=np.float64)
        data = data if self.scaler_ is None else self.scaler_.transform(data)
        posteriors: NDArray[np.float64] = self.estimator_.predict_proba(data)
        return posteriors
