"""Self-attention fusion of a voice and a face with modality dropout (katerynaCh, arXiv 2201.11095)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from classifiers.contract import HeadError, InputKind, Scale
from classifiers.framed import DescendingHead
from classifiers.network_head import ClassTargets
from classifiers.registry import HEADS
from fusion.sequences.options import Dropout, Way, known

if TYPE_CHECKING:
    from classifiers.frame_training import Enlarge, FrameClip
    from fusion.sequences.self_attention_network import SelfAttentionNetwork


@HEADS.register("self-attention")
class SelfAttentionHead(DescendingHead):
    """Frames of the sound and frames of the picture, which attend to each other.

    X is a list of `(sound, picture)`, `Frames` each; None stands for what a clip lacks. The defaults are the
    published ones, but for the scaling.

    Args:
        way: "lt", "it" or "ia": see `SelfAttentionNetwork`.
        attention_heads: How many attend side by side; they divide 64.
        dropout: "softhard", "noise" or "nodropout": which training clips also appear without a modality.
        scale: Scaling of both, fitted inside `fit`; "none" is as published.
        lr: Learning rate at first.
        momentum: Of stochastic gradient descent.
        dampening: Of the momentum.
        weight_decay: L2 penalty.
        batch: Clips per step, before dropout multiplies them.
        max_epochs: Epochs.
        milestones: Epochs after which the rate is divided by ten.
        patience: Epochs without a better result on held-out subjects before it stops; None: never.
        parts: One in so many subjects is held out; the weights of their best epoch stay.
        seed: Of weights, order, dropout, and which subjects are held out.
    """

    sequence: ClassVar[bool] = True
    inputs: ClassVar[tuple[InputKind, ...]] = ("frames", "frames")
    partial: ClassVar[bool] = True

    def __init__(
        self,
        way: Way = "ia",
        attention_heads: int = 1,
        dropout: Dropout = "softhard",
        scale: Scale = "standard",
        lr: float = 0.04,
        momentum: float = 0.9,
        dampening: float = 0.9,
        weight_decay: float = 1e-3,
        batch: int = 8,
        max_epochs: int = 100,
        milestones: Sequence[int] = (40, 55, 65, 70),
        patience: int | None = None,
        parts: int = 5,
        seed: int = 1,
    ) -> None:
        self.way = way
        self.attention_heads = attention_heads
        self.dropout = dropout
        self.scale = scale
        self.lr = lr
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.batch = batch
        self.max_epochs = max_epochs
        self.milestones = milestones
        self.patience = patience
        self.parts = parts
        self.seed = seed

    def _network(self, widths: Sequence[int], classes: int) -> "SelfAttentionNetwork":
        from fusion.sequences.self_attention_network import SelfAttentionNetwork

        audio, visual = widths
        return SelfAttentionNetwork(audio, visual, classes, self.way, self.attention_heads)

    def _enlarge(self) -> "Enlarge | None":
        from fusion.sequences.modality_dropout import DROPOUTS

        return DROPOUTS[self.dropout]

    def _train(
        self,
        clips: Sequence["FrameClip"],
        y: ClassTargets,
        fit: NDArray[np.int64],
        held: NDArray[np.int64],
    ) -> int:
        if not any(None not in clips[i] for i in fit):
            raise HeadError(
                "no training clip has both inputs, and attention between them is learned from such; use "
                "`head: versatile`, which learns from clips of either, or fuse a head of each"
            )
        return super()._train(clips, y, fit, held)

    def _check_options(self) -> None:
        super()._check_options()
        if self.attention_heads < 1 or 64 % self.attention_heads:
            raise HeadError(f"attention_heads is {self.attention_heads}; expected a divisor of 64")
        known("way", self.way, Way)
        known("dropout", self.dropout, Dropout)
