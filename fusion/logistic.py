"""Stacking by logistic regression."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion.contract import Fuser, log_posteriors
from fusion.join import FusionError
from fusion.registry import FUSERS


@FUSERS.register("logistic")
class LogisticStacking(Fuser):
    """A multinomial logistic regression on the sources' log-posteriors, side by side.

    Args:
        C: Inverse strength of the regularisation.
    """

    def __init__(self, C: float = 0.1) -> None:
        self.C = C

    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64]) -> Self:
        """Fit on the training rows."""
        if len(np.unique(y)) < 2:
            raise FusionError("fusion: the training rows are of one class; expected at least 2")
        self.classes_ = P.shape[2]
        self.model_ = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=10000))
        self.model_.fit(self._columns(P), y)
        return self

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return posteriors; a class that no training row had gets 0."""
        fused = np.zeros((len(P), self.classes_))
        fused[:, self.model_.classes_] = self.model_.predict_proba(self._columns(P))
        return fused

    @staticmethod
    def _columns(P: NDArray[np.float64]) -> NDArray[np.float64]:
        return log_posteriors(P).reshape(len(P), -1)
