"""Support vectors by the share of errors (SYSTEMS 2.5, no. 5)."""

from sklearn.svm import NuSVC

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.scikit import DecisionHead


@HEADS.register("nusvc")
class NuSVCHead(DecisionHead):
    """RBF support vectors; ties between votes as in `svc-plain`.

    Args:
        nu: Bound on the share of margin errors; too high for a rare class is an error.
        scale: Scaling of the features, fitted inside `fit`.
        seed: For interface's sake; the result does not depend on it.
    """

    def __init__(self, nu: float = 0.3, scale: Scale = "minmax", seed: int = 0) -> None:
        self.nu = nu
        self.scale = scale
        self.seed = seed

    def estimator(self) -> NuSVC:
        """Return scikit-learn's."""
        return NuSVC(nu=self.nu, random_state=self.seed)
