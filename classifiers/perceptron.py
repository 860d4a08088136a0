"""Rosenblatt's perceptron (SYSTEMS 2.5, no. 4)."""

from sklearn.linear_model import Perceptron

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.scikit import DecisionHead


@HEADS.register("perceptron")
class PerceptronHead(DecisionHead):
    """One layer, learned by its errors, without a penalty.

    Args:
        scale: Scaling of the features, fitted inside `fit`.
        seed: Of whatever is drawn.
    """

    def __init__(self, scale: Scale = "minmax", seed: int = 0) -> None:
        self.scale = scale
        self.seed = seed

    def estimator(self) -> Perceptron:
        """Return scikit-learn's."""
        return Perceptron(random_state=self.seed)
