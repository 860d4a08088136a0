"""Stacking by a multi-layer perceptron."""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion.registry import FUSERS
from fusion.stacker import Stacker


@FUSERS.register("mlp")
class MLPStacking(Stacker):
    """A small perceptron.

    Args:
        hidden: Units of each hidden layer.
        alpha: L2 penalty.
        max_iter: Most epochs.
        seed: Of the initial weights and the order of rows.
    """

    def __init__(
        self, hidden: Sequence[int] = (16,), alpha: float = 10.0, max_iter: int = 200, seed: int = 0
    ) -> None:
        self.hidden = hidden
        self.alpha = alpha
        self.max_iter = max_iter
        self.seed = seed

    def estimator(self, columns: int, y: NDArray[np.int64], groups: Sequence[str] | None) -> Any:
        """Return it behind a scaler."""
        network = MLPClassifier(
            tuple(self.hidden), alpha=self.alpha, max_iter=self.max_iter, random_state=self.seed
        )
        return make_pipeline(StandardScaler(), network)

    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64], groups: Sequence[str] | None = None) -> Self:
        """Fit; reaching `max_iter` is expected and says nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().fit(P, y, groups)
