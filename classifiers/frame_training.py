"""How a network on frames is trained by stochastic gradient descent, and asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from affectstack.memory import keep_freed_memory
from classifiers.branch_training import device, parted, quality, shuffled
from classifiers.contract import Frames, HeadError
from classifiers.frames import FrameBatch, batched
from classifiers.network_head import ClassTargets

FrameClip = tuple[Frames | None, ...]
Enlarge = Callable[[list[FrameBatch], Tensor], tuple[list[FrameBatch], Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns.

    Attributes:
        lr: Learning rate at first.
        momentum: Of stochastic gradient descent.
        dampening: Of the momentum.
        weight_decay: L2 penalty.
        batch: Clips per step.
        max_epochs: Epochs.
        milestones: Epochs after which the rate is divided by ten.
        patience: Epochs without a better result on held-out clips before it stops; None: never.
    """

    lr: float
    momentum: float
    dampening: float
    weight_decay: float
    batch: int
    max_epochs: int
    milestones: tuple[int, ...]
    patience: int | None


@dataclass(frozen=True)
class Collator:
    """How clips become batches.

    Attributes:
        widths: D of each input.
        stand_ins: How many rows of zeros stand in for each input where a clip lacks it.
    """

    widths: Sequence[int]
    stand_ins: Sequence[int]

    def __call__(self, clips: Sequence[FrameClip]) -> list[FrameBatch]:
        """Return one part per input."""
        inputs = zip(zip(*clips, strict=True), self.widths, self.stand_ins, strict=True)
        return [batched(own, width, rows) for own, width, rows in inputs]

    def only(self, place: int) -> "Collator":
        """Return the same for clips of one of the inputs."""
        return Collator([self.widths[place]], [self.stand_ins[place]])


def train(
    network: nn.Module,
    clips: Sequence[FrameClip],
    y: ClassTargets,
    fit: NDArray[np.int64],
    held: NDArray[np.int64],
    collate: Collator,
    schedule: Schedule,
    seed: int,
    enlarge: Enlarge | None = None,
) -> int:
    """Train a network; leave it with the weights that were best on held-out clips.

    Args:
        network: Untrained; takes what `collate` gives, returns `[N, K]` logits.
        clips: N clips.
        y: What it is to say of them.
        fit: The clips that it learns from.
        held: The clips that decide which epoch stays, by `quality`.
        collate: How clips become batches.
        schedule: How long and how fast.
        seed: Of the order of clips.
        enlarge: What makes more clips of a batch, such as modality dropout.

    Returns:
        The epoch whose weights are kept, from 1.

    Raises:
        HeadError: If the weights grow beyond all bounds.
    """
    keep_freed_memory()
    network.to(device())
    optimiser = torch.optim.SGD(
        network.parameters(), schedule.lr, schedule.momentum, schedule.dampening, schedule.weight_decay
    )
    fall = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(schedule.milestones), 0.1)
    truth = torch.from_numpy(y.index if y.shares is None else y.shares).to(device())
    dice = np.random.default_rng(seed)
    best, kept, state = (-1.0, 0.0), 0, {}
    for epoch in range(1, schedule.max_epochs + 1):
        network.train()
        for rows in shuffled([frames_of(clips[i]) for i in fit], schedule.batch, dice):
            parts, labels = collate([clips[i] for i in fit[rows]]), truth[fit[rows]]
            if enlarge is not None:
                parts, labels = enlarge(parts, labels)
            loss = functional.cross_entropy(network(parts), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        fall.step()
        found = posteriors(network, [clips[i] for i in held], collate, schedule.batch)
        if not np.isfinite(found).all():
            raise HeadError(
                f"the training diverged in epoch {epoch}: lr is {schedule.lr}; lower it, or scale the input"
            )
        if (value := quality(y.index[held], found)) > best:
            best, kept = value, epoch
            state = {name: values.clone() for name, values in network.state_dict().items()}
        elif schedule.patience is not None and epoch - kept >= schedule.patience:
            break
    network.load_state_dict(state)
    return kept


def posteriors(
    network: nn.Module, clips: Sequence[FrameClip], collate: Collator, batch: int
) -> NDArray[np.float64]:
    """Return `[N, K]` posteriors; the batch a clip meets does not change them."""
    network.eval()
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    lengths = np.array([frames_of(c) for c in clips])
    order = np.argsort(lengths, kind="stable")  # little is padding
    with torch.inference_mode():
        for rows in parted(order, lengths[order], max(batch, 32)):
            logits = network(collate([clips[i] for i in rows]))
            found.append((rows, logits.double().softmax(dim=1).cpu().numpy()))
    out = np.empty((len(clips), found[0][1].shape[1]))
    for rows, own in found:
        out[rows] = own
    return out


def frames_of(clip: FrameClip) -> int:
    """Return how many rows the longest input of a clip has."""
    return max((len(frames.values) for frames in clip if frames is not None), default=1)
