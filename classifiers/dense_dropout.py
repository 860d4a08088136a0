"""Linear layers with dropout on a clip's vector (the video classifier of VAER, SYSTEMS 6.2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from classifiers.branched import BranchedHead
from classifiers.contract import Scale
from classifiers.registry import HEADS

if TYPE_CHECKING:
    from classifiers.branches import BranchedNetwork


@HEADS.register("dense-dropout")
class DenseDropoutHead(BranchedHead):
    """Linear layers, each followed by ReLU and dropout.

    Args:
        hidden: Units of each layer.
        dropout: After each layer.
        scale: Scaling of the features, fitted inside `fit`.
        lr: Learning rate of Adam.
        batch: Clips per step.
        max_epochs: Most epochs.
        patience: Epochs without a better quality (see `branch_training`) before it stops.
        parts: One in so many subjects is held out.
        seed: Of weights, order, dropout, and which subjects are held out.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (512, 256, 128),
        dropout: float = 0.5,
        scale: Scale = "standard",
        lr: float = 5e-4,
        batch: int = 32,
        max_epochs: int = 10,
        patience: int = 10,
        parts: int = 5,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.scale = scale
        self.lr = lr
        self.batch = batch
        self.max_epochs = max_epochs
        self.patience = patience
        self.parts = parts
        self.seed = seed

    def _sizes(self) -> Sequence[int]:
        return self.hidden

    def _network(self, widths: Sequence[int], classes: int) -> "BranchedNetwork":
        from classifiers.branches import BranchedNetwork, DenseBranch

        return BranchedNetwork([DenseBranch(widths[0], self.hidden, self.dropout)], [], classes)
