"""Heads that are one scikit-learn estimator behind a scaler."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator

from classifiers.contract import FloatArray, HeadError, Labels, Scale, StaticHead, check_classes, make_scaler


class ScikitHead(StaticHead):
    """Scale, then let a scikit-learn classifier with `predict_proba` do the rest."""

    scale: Scale

    @abstractmethod
    def estimator(self) -> BaseEstimator:
        """Return the unfitted estimator."""

    def fit(self, X: FloatArray, y: Labels, groups: Sequence[str] | None = None) -> Self:
        """Fit scaler and estimator; nothing is held out, so `groups` is not needed."""
        self.classes_, index = check_classes(y)
        self.scaler_ = make_scaler(self.scale)
        data = finite(X)
        data = data if self.scaler_ is None else self.scaler_.fit_transform(data)
        try:
            self.estimator_: Any = self.estimator().fit(data, index)
        except ValueError as error:
            raise HeadError(f"scikit-learn refuses: {' '.join(str(error).split())}") from error
        return self

    def predict_proba(self, X: FloatArray) -> NDArray[np.float64]:
        """Return the estimator's posteriors."""
        try:
            posteriors: NDArray[np.float64] = self.estimator_.predict_proba(self._scaled(X))
        except ValueError as error:
            raise HeadError(f"scikit-learn refuses: {' '.join(str(error).split())}") from error
        return posteriors

    def predict(self, X: FloatArray) -> NDArray[Any]:
        """Return what the estimator itself decides."""
        decided: NDArray[Any] = self.classes_[self.estimator_.predict(self._scaled(X))]
        return decided

    def _scaled(self, X: FloatArray) -> FloatArray:
        data = finite(X)
        scaled: FloatArray = data if self.scaler_ is None else self.scaler_.transform(data)
        return scaled


def finite(X: FloatArray) -> NDArray[np.float64]:
    """Return features in double precision.

    Raises:
        HeadError: If one is no number.
    """
    data = np.asarray(X, dtype=np.float64)
    if not np.isfinite(data).all():
        raise HeadError("a feature is NaN or infinite")  # which trees would take without a word
    return data


class DecisionHead(ScikitHead):
    """The same for a classifier that decides without posteriors.

    Its posteriors are a softmax of its decision values: they rank, but they are not calibrated. Fuse them
    with `temperature: true`, or by a fusion that learns.
    """

    def predict_proba(self, X: FloatArray) -> NDArray[np.float64]:
        """Return the softmax of the decision values."""
        decisions = self.estimator_.decision_function(self._scaled(X))
        if decisions.ndim == 1:  # two classes: positive speaks for the second
            decisions = np.column_stack([np.zeros(len(decisions)), decisions])
        posteriors: NDArray[np.float64] = softmax(decisions, axis=1)
        return posteriors
