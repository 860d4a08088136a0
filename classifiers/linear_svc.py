"""A linear support vector machine (SYSTEMS 2.5, no. 6)."""

from sklearn.svm import LinearSVC

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.scikit import DecisionHead


@HEADS.register("linear-svc")
class LinearSVCHead(DecisionHead):
    """One linear machine per class against the rest.

    Args:
        C: The cost.
        max_iter: Most iterations.
        scale: Scaling of the features, fitted inside `fit`.
        seed: Of whatever is drawn.
    """

    def __init__(self, C: float = 1.0, max_iter: int = 10000, scale: Scale = "minmax", seed: int = 0) -> None:
        self.C = C
        self.max_iter = max_iter
        self.scale = scale
        self.seed = seed

    def estimator(self) -> LinearSVC:
        """Return scikit-learn's."""
        return LinearSVC(C=self.C, max_iter=self.max_iter, random_state=self.seed)
