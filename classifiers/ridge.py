"""Ridge classification (SYSTEMS 2.5, no. 3)."""

from sklearn.linear_model import RidgeClassifier

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.scikit import DecisionHead


@HEADS.register("ridge")
class RidgeHead(DecisionHead):
    """Least squares on +1 and -1 targets with an L2 penalty.

    Args:
        alpha: The penalty.
        scale: Scaling of the features, fitted inside `fit`.
        seed: For interface's sake; the result does not depend on it.
    """

    def __init__(self, alpha: float = 1.0, scale: Scale = "minmax", seed: int = 0) -> None:
        self.alpha = alpha
        self.scale = scale
        self.seed = seed

    def estimator(self) -> RidgeClassifier:
        """Return scikit-learn's."""
        return RidgeClassifier(alpha=self.alpha, random_state=self.seed)
