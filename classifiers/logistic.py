"""Multinomial logistic regression."""

from sklearn.linear_model import LogisticRegression

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.scikit import ScikitHead


@HEADS.register("logistic")
class LogisticHead(ScikitHead):
    """L2-regularised multinomial logistic regression by L-BFGS.

    Args:
        C: Inverse strength of the regularisation.
        scale: Scaling of the features, fitted inside `fit`.
        max_iter: Most iterations.
        seed: For interface's sake; the optimum does not depend on it.
    """

    def __init__(
        self, C: float = 1.0, scale: Scale = "standard", max_iter: int = 10000, seed: int = 0
    ) -> None:
        self.C = C
        self.scale = scale
        self.max_iter = max_iter
        self.seed = seed

    def estimator(self) -> LogisticRegression:
        """Return scikit-learn's."""
        return LogisticRegression(C=self.C, max_iter=self.max_iter, random_state=self.seed)
