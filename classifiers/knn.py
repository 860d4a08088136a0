"""Nearest neighbours (SYSTEMS 2.5, no. 7)."""

from sklearn.neighbors import KNeighborsClassifier

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.scikit import ScikitHead


@HEADS.register("knn")
class KNNHead(ScikitHead):
    """The share of the nearest training clips that are of a class.

    Args:
        k: How many neighbours.
        scale: Scaling of the features, fitted inside `fit`.
        seed: For interface's sake; the result does not depend on it.
    """

    def __init__(self, k: int = 10, scale: Scale = "minmax", seed: int = 0) -> None:
        self.k = k
        self.scale = scale
        self.seed = seed

    def estimator(self) -> KNeighborsClassifier:
        """Return scikit-learn's."""
        return KNeighborsClassifier(self.k, algorithm="brute")
