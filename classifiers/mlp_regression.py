"""A multi-layer perceptron that predicts values."""

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.values import ValueHead


@HEADS.register("mlp-regression")
class MLPRegressionHead(ValueHead):
    """scikit-learn's perceptron with squared error: one network, one output per attribute.

    Args:
        hidden: Units of each hidden layer.
        scale: Scaling of the features, fitted inside `fit`.
        alpha: L2 penalty.
        max_iter: Most epochs; stopping there is part of the recipe.
        seed: Of the initial weights and the order of clips.
    """

    trusted: ClassVar[tuple[str, ...]] = ("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",)

    def __init__(
        self,
        hidden: Sequence[int] = (80,),
        scale: Scale = "standard",
        alpha: float = 1e-4,
        max_iter: int = 200,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.scale = scale
        self.alpha = alpha
        self.max_iter = max_iter
        self.seed = seed

    def learn(self, data: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Train; reaching `max_iter` is expected and says nothing."""
        network = MLPRegressor(
            hidden_layer_sizes=tuple(self.hidden),
            alpha=self.alpha,
            max_iter=self.max_iter,
            random_state=self.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.network_: Any = network.fit(data, values if values.shape[1] > 1 else values[:, 0])

    def say(self, data: NDArray[np.float64]) -> NDArray[np.float64]:
        """Run the network."""
        said: NDArray[np.float64] = self.network_.predict(data).reshape(len(data), -1)
        return said
