"""scikit-learn's support vector machine as it is (SYSTEMS 2.5, no. 1)."""

from typing import Literal

from sklearn.svm import SVC

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.scikit import DecisionHead


@HEADS.register("svc-plain")
class PlainSVCHead(DecisionHead):
    """RBF support vectors with fixed settings, as papers use them; `svc` is the head to fuse with.

    Ties between the votes of pairs go to the first class in `predict` and to the surer one in posteriors.

    Args:
        C: The cost.
        gamma: The RBF width, or "scale": 1 / (D * variance).
        scale: Scaling of the features, fitted inside `fit`.
        seed: For interface's sake; the result does not depend on it.
    """

    def __init__(
        self,
        C: float = 1.0,
        gamma: Literal["scale"] | float = "scale",
        scale: Scale = "minmax",
        seed: int = 0,
    ) -> None:
        self.C = C
        self.gamma = gamma
        self.scale = scale
        self.seed = seed

    def estimator(self) -> SVC:
        """Return scikit-learn's."""
        return SVC(C=self.C, gamma=self.gamma, random_state=self.seed)
