"""Three updates per batch: each input by itself, then the answer of both (VAVL, SYSTEMS 5.3).

The sound comes before the picture, which there is the other way round; what both share is in the optimisers
of both, each with its own moments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional

from affectstack.memory import keep_freed_memory
from classifiers.branch_training import device, parted, quality, shuffled
from classifiers.contract import HeadError
from classifiers.frame_training import Collator, FrameClip, frames_of
from classifiers.frames import FrameBatch
from classifiers.temporal import mean_over_time
from fusion.sequences.options import complete
from fusion.sequences.versatile_network import VersatileNetwork

Loss = Callable[[Tensor, Tensor], Tensor]
_BETAS = (0.95, 0.999)


@dataclass(frozen=True)
class Settings:
    """How it is trained.

    Attributes:
        lr: Learning rate of Adam.
        weight_decay: L2 penalty.
        batch: Clips per step.
        max_epochs: Most epochs.
        patience: Epochs that are no better on held-out clips before it stops; None: never.
        reconstruction: How much the reconstruction of the mean input weighs beside the answer.
        seed: Of the order of clips.
        by_recall: Held-out clips are judged by the unweighted average recall of the answers, in place of
            their loss.
    """

    lr: float
    weight_decay: float
    batch: int
    max_epochs: int
    patience: int | None
    reconstruction: float
    seed: int
    by_recall: bool = False


class Trainer:
    """Trains one network.

    Args:
        network: Untrained.
        clips: N clips, scaled; None stands for what one lacks.
        targets: `[N, ...]`, NaN in rows without a label, which are only reconstructed.
        collate: How clips become batches.
        loss: Of an answer `[n, K]` and targets.
        settings: How it is trained.
        least: How many clips the loss needs.

    Attributes:
        taught: Of each answer, whether any clip has taught it.
    """

    def __init__(
        self,
        network: VersatileNetwork,
        clips: Sequence[FrameClip],
        targets: NDArray[np.float32],
        collate: Collator,
        loss: Loss,
        settings: Settings,
        least: int = 1,
    ) -> None:
        self._least = least
        self.taught = [False] * (len(collate.widths) + 1)
        self._network, self._clips, self._collate = network.to(device()), clips, collate
        self._loss, self._settings = loss, settings
        self._targets = torch.from_numpy(targets).to(device())
        self._labelled = complete(targets)
        self._there = np.array([[frames is not None for frames in clip] for clip in clips])
        groups = [network.parameters_of(place) for place in range(self._there.shape[1])]
        self._optimisers = [
            torch.optim.Adam(own, settings.lr, betas=_BETAS, weight_decay=settings.weight_decay)
            for own in (*groups, list(network.joint.parameters()))
        ]

    def train(self, fit: NDArray[np.int64], held: NDArray[np.int64]) -> int:
        """Train on some clips; leave the network with the weights that were best on others.

        Returns:
            The epoch whose weights are kept, from 1.

        Raises:
            HeadError: If the weights grow beyond all bounds, or too few held-out clips can be answered.
        """
        keep_freed_memory()
        dice = np.random.default_rng(self._settings.seed)
        best, kept, state = np.inf, 0, {}
        for epoch in range(1, self._settings.max_epochs + 1):
            for rows in shuffled([frames_of(self._clips[i]) for i in fit], self._settings.batch, dice):
                self._step(fit[rows])
            value = self._held_out(held)
            if value is None:
                raise HeadError(
                    f"the {len(held)} held-out clips can be given none of the answers that training clips "
                    "taught, for they lack the input; hold out more subjects (fewer `parts`)"
                )
            if not np.isfinite(value):
                raise HeadError(
                    f"the training diverged in epoch {epoch}: lr is {self._settings.lr}; lower it, or scale "
                    "the input"
                )
            if value < best:
                best, kept = value, epoch
                state = {name: values.clone() for name, values in self._network.state_dict().items()}
            elif self._settings.patience is not None and epoch - kept >= self._settings.patience:
                break
        self._network.load_state_dict(state)
        return kept

    def _step(self, rows: NDArray[np.int64]) -> None:
        network = self._network
        for place in range(self._there.shape[1]):
            own = rows[self._there[rows, place]]
            if len(own):
                network.train()
                self._update(place, own)
        both = rows[self._there[rows].all(axis=1) & self._labelled[rows]]
        if len(both) >= self._least:
            network.eval()
            with torch.no_grad():
                encoded = [network.encode(p, part) for p, part in enumerate(self._batch(both))]
            network.joint.train()
            self._descend(-1, self._loss(network.together(encoded), self._targets[both]))
            self.taught[-1] = True

    def _update(self, place: int, rows: NDArray[np.int64]) -> None:
        """Learn from one input of some clips."""
        network, part = self._network, self._batch(rows, place)[0]
        encoded = network.encode(place, part)
        # What is to be reconstructed is the mean over time of the input itself.
        loss = self._settings.reconstruction * functional.mse_loss(
            network.reconstructions[place](encoded), mean_over_time(part)
        )
        known = np.flatnonzero(self._labelled[rows])
        if len(known) >= self._least:
            self.taught[place] = True
            loss = loss + self._loss(network.answers[place](encoded[known]), self._targets[rows[known]])
        self._descend(place, loss)

    def _descend(self, which: int, loss: Tensor) -> None:
        optimiser = self._optimisers[which]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def _held_out(self, held: NDArray[np.int64]) -> float | None:
        """Return how bad the answers to held-out clips are: their mean loss, or lack of recall.

        Only answers that were taught count; None: no clip can be given any.
        """
        known = held[self._labelled[held]]
        losses = []
        found_all = answers(self._network, [self._clips[i] for i in known], self._collate)
        for answer, taught in zip(found_all, self.taught, strict=True):
            there = complete(answer)
            if taught and there.sum() >= self._least:
                wanted = self._targets[known[there]]
                found = torch.from_numpy(answer[there]).float().to(device())
                losses.append(float(self._loss(found, wanted)))
                if self._settings.by_recall and np.isfinite(losses[-1]):
                    truth = wanted.argmax(dim=1).cpu().numpy()
                    losses[-1] = 1 - quality(truth, softmax(answer[there], axis=1))[0]
        return float(np.mean(losses)) if losses else None

    def _batch(self, rows: NDArray[np.int64], place: int | None = None) -> list[FrameBatch]:
        clips = [self._clips[i] for i in rows]
        if place is None:
            return self._collate(clips)
        return self._collate.only(place)([(clip[place],) for clip in clips])


def answers(
    network: VersatileNetwork, clips: Sequence[FrameClip], collate: Collator, batch: int = 64
) -> list[NDArray[np.float64]]:
    """Return what a network answers to each input of clips, and to all of them: `[N, K]` each.

    An answer to what a clip lacks is NaN. The batch that a clip meets does not change any.
    """
    network.eval()
    inputs = len(collate.widths)
    there = np.array([[frames is not None for frames in clip] for clip in clips]).reshape(-1, inputs)
    encoded: list[dict[int, Tensor]] = [{} for _ in range(inputs)]
    with torch.inference_mode():
        for place in range(inputs):
            own = np.flatnonzero(there[:, place])
            lengths = np.array([len(f.values) for i in own if (f := clips[int(i)][place]) is not None])
            order = np.argsort(lengths, kind="stable")
            for rows in parted(own[order], lengths[order], batch) if len(own) else []:
                part = collate.only(place)([(clips[i][place],) for i in rows])[0]
                encoded[place] |= dict(zip(rows.tolist(), network.encode(place, part), strict=True))
        found = [_asked(network.answers[p], [encoded[p]], len(clips)) for p in range(inputs)]
        return [*found, _asked(network.joint, encoded, len(clips))]


def _asked(answer: torch.nn.Module, encoded: Sequence[dict[int, Tensor]], clips: int) -> NDArray[np.float64]:
    rows = sorted(set.intersection(*(set(own) for own in encoded)))
    out = np.full((clips, answer[-1].out_features), np.nan)  # type: ignore[index]  # a Sequential
    if rows:
        stacked = torch.stack([torch.cat([own[i] for own in encoded]) for i in rows])
        out[rows] = answer(stacked).double().cpu().numpy()
    return out
