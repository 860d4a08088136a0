"""A vector and a sequence of one clip, in one network (the multimodal classifier of VAER, SYSTEMS 6.2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from classifiers.branched import BranchedHead
from classifiers.contract import InputKind, Scale
from classifiers.registry import HEADS

if TYPE_CHECKING:
    from classifiers.branches import BranchedNetwork


@HEADS.register("concat")
class ConcatHead(BranchedHead):
    """The branches of `dense-dropout` and `mel-cnn`, equally wide at their ends, concatenated.

    X is a list of `(vector [D], frames [T_i, B])`, such as features of the video and log-mel frames.

    Args:
        hidden: Units of each layer of the vector's branch; the sequence's branch ends as wide as the last.
        channels: Of each 3x3 convolution of the sequence's branch, which a 2x2 maximum follows.
        joined: Units of the layer after the concatenation.
        dropout: After each layer of the vector's branch.
        scale: Scaling of the features and of the bands, fitted inside `fit`.
        lr: Learning rate of Adam.
        batch: Clips per step.
        max_epochs: Most epochs.
        patience: Epochs without a better quality (see `branch_training`) before it stops.
        parts: One in so many subjects is held out.
        seed: Of weights, order, dropout, and which subjects are held out.
    """

    sequence: ClassVar[bool] = True
    inputs: ClassVar[tuple[InputKind, ...]] = ("static", "sequence")

    def __init__(
        self,
        hidden: Sequence[int] = (1024, 512, 128),
        channels: Sequence[int] = (32, 64, 64),
        joined: int = 128,
        dropout: float = 0.5,
        scale: Scale = "standard",
        lr: float = 1e-3,
        batch: int = 32,
        max_epochs: int = 150,
        patience: int = 10,
        parts: int = 5,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.channels = channels
        self.joined = joined
        self.dropout = dropout
        self.scale = scale
        self.lr = lr
        self.batch = batch
        self.max_epochs = max_epochs
        self.patience = patience
        self.parts = parts
        self.seed = seed

    def _sizes(self) -> Sequence[int]:
        return [min(self.hidden, default=0), min(self.channels, default=0), self.joined]

    def _network(self, widths: Sequence[int], classes: int) -> "BranchedNetwork":
        from classifiers.branches import BranchedNetwork, ConvBranch, DenseBranch

        return BranchedNetwork(
            [
                DenseBranch(widths[0], self.hidden, self.dropout),
                ConvBranch(self.channels, self.hidden[-1]),
            ],
            [self.joined],
            classes,
        )
