"""Support vector regression of attributes."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from sklearn.svm import SVR

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.values import ChoosingHead

Gamma = Literal["scale"] | float


@HEADS.register("svr")
class SVRHead(ChoosingHead):
    """RBF support vectors, one machine per attribute.

    Options that are lists are chosen from, for each attribute by itself: by the CCC on held-out subjects.

    Args:
        C: The cost.
        epsilon: Deviations that cost nothing, in standard deviations of the attribute.
        gamma: The RBF width, or "scale" (1 / (D * variance)).
        scale: Scaling of the features, fitted inside `fit`.
        parts: Parts by subject for the choice.
        seed: Which subjects meet in a part.
    """

    options: ClassVar[tuple[str, ...]] = ("C", "epsilon", "gamma")
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"epsilon"})

    def __init__(
        self,
        C: float | Sequence[float] = 1.0,
        epsilon: float | Sequence[float] = 0.1,
        gamma: Gamma | Sequence[Gamma] = "scale",
        scale: Scale = "standard",
        parts: int = 6,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.epsilon = epsilon
        self.gamma = gamma
        self.scale = scale
        self.parts = parts
        self.seed = seed

    def estimator(self, **setting: Any) -> SVR:
        """Return scikit-learn's."""
        machine = SVR(**setting)
        # A seed that changes nothing: without one, a number of the global generator would be used up.
        machine.random_state = 0
        return machine
