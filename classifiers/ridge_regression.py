"""Ridge regression of attributes."""

from collections.abc import Sequence
from typing import Any, ClassVar

from sklearn.linear_model import Ridge

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.values import ChoosingHead


@HEADS.register("ridge-regression")
class RidgeRegressionHead(ChoosingHead):
    """Least squares with an L2 penalty, one regression per attribute.

    Args:
        alpha: The penalty, or several: for each attribute the one with the best CCC on held-out subjects.
        scale: Scaling of the features, fitted inside `fit`.
        parts: Parts by subject for the choice.
        seed: Which subjects meet in a part.
    """

    options: ClassVar[tuple[str, ...]] = ("alpha",)

    def __init__(
        self,
        alpha: float | Sequence[float] = 1.0,
        scale: Scale = "standard",
        parts: int = 6,
        seed: int = 0,
    ) -> None:
        self.alpha = alpha
        self.scale = scale
        self.parts = parts
        self.seed = seed

    def estimator(self, **setting: Any) -> Ridge:
        """Return scikit-learn's."""
        return Ridge(**setting)
