"""A multi-layer perceptron."""

import warnings
from collections.abc import Sequence
from typing import ClassVar, Self

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from classifiers.contract import FloatArray, Labels, Scale
from classifiers.registry import HEADS
from classifiers.scikit import ScikitHead


@HEADS.register("mlp")
class MLPHead(ScikitHead):
    """scikit-learn's perceptron with the settings of MMER (SYSTEMS 2.5, no. 11): relu, Adam 1e-3.

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
        scale: Scale = "minmax",
        alpha: float = 1e-4,
        max_iter: int = 200,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.scale = scale
        self.alpha = alpha
        self.max_iter = max_iter
        self.seed = seed

    def estimator(self) -> MLPClassifier:
        """Return scikit-learn's."""
        return MLPClassifier(
            hidden_layer_sizes=tuple(self.hidden),
            alpha=self.alpha,
            max_iter=self.max_iter,
            random_state=self.seed,
        )

    def fit(self, X: FloatArray, y: Labels, groups: Sequence[str] | None = None) -> Self:
        """Fit; reaching `max_iter` is expected and says nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().fit(X, y, groups)
