"""Stacking by logistic regression."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion.registry import FUSERS
from fusion.stacker import Stacker


@FUSERS.register("logistic")
class LogisticStacking(Stacker):
    """A multinomial logistic regression.

    Args:
        C: Inverse strength of the regularisation.
    """

    def __init__(self, C: float = 0.1) -> None:
        self.C = C

    def estimator(self, columns: int, y: NDArray[np.int64], groups: Sequence[str] | None) -> Any:
        """Return it behind a scaler."""
        return make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=10000))
