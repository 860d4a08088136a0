"""Convolutions over a clip's log-mel frames (the audio classifier of VAER, SYSTEMS 6.2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from classifiers.branched import BranchedHead
from classifiers.contract import Scale
from classifiers.registry import HEADS

if TYPE_CHECKING:
    from classifiers.branches import BranchedNetwork


@HEADS.register("mel-cnn")
class MelCNNHead(BranchedHead):
    """A `ConvBranch` over frames of bands; any length, from one frame, and no padding changes a clip.

    Args:
        channels: Of each 3x3 convolution, which a 2x2 maximum follows.
        hidden: Units of the layer after the global maximum.
        scale: Scaling of the bands, fitted inside `fit`.
        lr: Learning rate of Adam.
        batch: Clips per step.
        max_epochs: Most epochs.
        patience: Epochs without a better quality (see `branch_training`) before it stops.
        parts: One in so many subjects is held out.
        seed: Of weights, order, and which subjects are held out.
    """

    sequence: ClassVar[bool] = True

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 64),
        hidden: int = 64,
        scale: Scale = "standard",
        lr: float = 1e-3,
        batch: int = 32,
        max_epochs: int = 100,
        patience: int = 10,
        parts: int = 5,
        seed: int = 0,
    ) -> None:
        self.channels = channels
        self.hidden = hidden
        self.scale = scale
        self.lr = lr
        self.batch = batch
        self.max_epochs = max_epochs
        self.patience = patience
        self.parts = parts
        self.seed = seed

    def _sizes(self) -> Sequence[int]:
        return [min(self.channels, default=0), self.hidden]

    def _network(self, widths: Sequence[int], classes: int) -> "BranchedNetwork":
        from classifiers.branches import BranchedNetwork, ConvBranch

        return BranchedNetwork([ConvBranch(self.channels, self.hidden)], [], classes)
