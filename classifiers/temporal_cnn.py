"""Convolutions over the frames of one input (one branch of katerynaCh's network, SYSTEMS 3.5)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from classifiers.contract import HeadError, InputKind, Scale
from classifiers.framed import DescendingHead
from classifiers.registry import HEADS

if TYPE_CHECKING:
    from classifiers.temporal import TemporalClassifier


@HEADS.register("temporal-cnn")
class TemporalCNNHead(DescendingHead):
    """Four convolutions, the mean over time, a linear layer.

    Args:
        kind: "audio": only whole windows, with maxima of neighbours, for at least 13 frames; clips of fewer
            end in zeros. "visual": any number of frames.
        scale: Scaling of the features, fitted inside `fit`; "none" is as published.
        lr: Learning rate at first.
        momentum: Of stochastic gradient descent.
        dampening: Of the momentum.
        weight_decay: L2 penalty.
        batch: Clips per step.
        max_epochs: Epochs.
        milestones: Epochs after which the rate is divided by ten.
        patience: Epochs without a better result on held-out subjects before it stops; None: never.
        parts: One in so many subjects is held out; the weights of their best epoch stay.
        seed: Of weights, order, and which subjects are held out.
    """

    sequence: ClassVar[bool] = True
    inputs: ClassVar[tuple[InputKind, ...]] = ("frames",)

    def __init__(
        self,
        kind: Literal["audio", "visual"] = "audio",
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
        self.kind = kind
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

    def _network(self, widths: Sequence[int], classes: int) -> "TemporalClassifier":
        from classifiers.temporal import TemporalClassifier, audio_stages, visual_stages

        if self.kind not in ("audio", "visual"):
            raise HeadError(f"kind is {self.kind!r}; expected audio or visual")
        stages = {"audio": audio_stages, "visual": visual_stages}[self.kind](widths[0])
        return TemporalClassifier(stages, classes)
