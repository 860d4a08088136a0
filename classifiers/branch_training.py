"""How a `BranchedNetwork` is trained and asked, on the GPU where there is one."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from classifiers.branches import BranchedNetwork, Part
from classifiers.contract import HeadError

Clip = tuple[NDArray[np.float32], ...]
_FRAMES_TOGETHER = 32_000  # of a batch with its padding: two gigabytes of memory
_SORTED_TOGETHER = (
    8  # batches whose clips are exchanged by length: more of them, less padding and less chance
)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let PyTorch draw from a seed inside, and go on outside as if nothing had been drawn."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def device() -> torch.device:
    """Return where networks are trained and asked."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    network: BranchedNetwork,
    clips: Sequence[Clip],
    y: NDArray[np.int64],
    fit: NDArray[np.int64],
    held: NDArray[np.int64],
    *,
    seed: int,
    lr: float,
    batch: int,
    max_epochs: int,
    patience: int,
) -> int:
    """Train a network until its held-out clips have stopped getting better; leave it with its best weights.

    The loss is weighted by class, so that all classes weigh the same. Dropout draws from PyTorch's
    generators: call it inside `seeded`.

    Args:
        network: Untrained.
        clips: N clips of one array per branch, scaled.
        y: `[N]` class indices.
        fit: The clips that it learns from.
        held: The clips that decide when it stops, by `quality`.
        seed: Of the order of clips.
        lr: Learning rate of Adam.
        batch: Clips per step.
        max_epochs: Most epochs.
        patience: Epochs without a better quality before it stops.

    Returns:
        The epoch whose weights are kept, from 1.

    Raises:
        HeadError: If the weights grow beyond all bounds.
    """
    network.to(device())
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    truth = torch.from_numpy(y).to(device())
    weight = _balanced(y[fit], network.out.out_features).to(device())
    dice = np.random.default_rng(seed)
    best, kept, state = (-1.0, 0.0), 0, {}
    for epoch in range(1, max_epochs + 1):
        network.train()
        for rows in shuffled([_frames(clips[i]) for i in fit], batch, dice):
            own = fit[rows]
            with _exact():
                logits = network(collate([clips[i] for i in own]))
                loss = functional.cross_entropy(logits, truth[own], weight)
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
        found = posteriors(network, [clips[i] for i in held], batch)
        if not np.isfinite(found).all():
            raise HeadError(
                f"the training diverged in epoch {epoch}: lr is {lr}; lower it, or scale the features"
            )
        if (value := quality(y[held], found)) > best:
            best, kept = value, epoch
            state = {name: values.clone() for name, values in network.state_dict().items()}
        elif epoch - kept >= patience:
            break
    network.load_state_dict(state)
    return kept


def posteriors(network: BranchedNetwork, clips: Sequence[Clip], batch: int) -> NDArray[np.float64]:
    """Return `[N, K]` posteriors; the batch a clip meets does not change them."""
    out = np.empty((len(clips), network.out.out_features))
    network.eval()
    lengths = np.array([_frames(c) for c in clips])
    order = np.argsort(lengths, kind="stable")  # little is padding
    with torch.inference_mode(), _exact():
        for rows in parted(order, lengths[order], batch):
            logits = network(collate([clips[i] for i in rows]))
            out[rows] = logits.double().softmax(dim=1).cpu().numpy()
    return out


def quality(truth: NDArray[np.int64], found: NDArray[np.float64]) -> tuple[float, float]:
    """Return how good posteriors are: the better of two is the greater.

    Few held-out clips have few values of recall, and a network that starts slowly stands at chance for
    epochs while its posteriors get better: it must not be stopped there, nor taken from the first of them.

    Args:
        truth: `[N]` class indices.
        found: `[N, K]` posteriors.

    Returns:
        The unweighted average recall and, where that is equal, the mean log posterior of the right class;
        both are averaged over the classes that there are, all of which weigh the same.
    """
    right = found.argmax(axis=1) == truth
    log = np.log(np.maximum(found[np.arange(len(truth)), truth], np.finfo(np.float64).tiny))
    classes = np.unique(truth)
    recall, certainty = (float(np.mean([v[truth == c].mean() for c in classes])) for v in (right, log))
    return recall, certainty


def shuffled(lengths: Sequence[int], batch: int, dice: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return the row numbers of an epoch's batches: drawn anew, clips of similar length together."""
    order = dice.permutation(len(lengths))
    among = np.asarray(lengths)[order]
    batches = []
    for first in range(0, len(order), step := _SORTED_TOGETHER * batch):
        ranks = np.argsort(among[first : first + step], kind="stable")
        near = order[first : first + step][ranks]
        batches += parted(near, among[first : first + step][ranks], batch)
    return [batches[i] for i in dice.permutation(len(batches))]


def parted(rows: NDArray[np.int64], lengths: NDArray[np.int64], batch: int) -> list[NDArray[np.int64]]:
    """Cut rows into batches: of so many clips at most, and fewer where padding would fill the memory.

    Args:
        rows: Row numbers, in the order of the lengths.
        lengths: Frames of each, rising.
        batch: Clips at most.
    """
    batches, begin = [], 0
    for i in range(1, len(rows) + 1):
        full = i - begin == batch
        if i == len(rows) or full or (i + 1 - begin) * lengths[i] > _FRAMES_TOGETHER:
            batches.append(rows[begin:i])
            begin = i
    return batches


def collate(clips: Sequence[Clip]) -> list[Part]:
    """Return a batch, one part per branch, frames padded with zeros."""
    parts = []
    for arrays in zip(*clips, strict=True):
        if arrays[0].ndim == 1:
            parts.append(Part(torch.from_numpy(np.stack(arrays)).to(device())))
            continue
        lengths = np.array([len(x) for x in arrays])
        values = np.zeros((len(arrays), lengths.max(), arrays[0].shape[1]), dtype=np.float32)
        for row, x in zip(values, arrays, strict=True):
            row[: len(x)] = x
        parts.append(Part(torch.from_numpy(values).to(device()), torch.from_numpy(lengths).to(device())))
    return parts


def _frames(clip: Clip) -> int:
    return max((len(x) for x in clip if x.ndim == 2), default=1)


def _balanced(y: NDArray[np.int64], classes: int) -> Tensor:
    """Return `[K]` class weights, n / (K * count)."""
    return torch.from_numpy(len(y) / (classes * np.bincount(y, minlength=classes))).float()


def _exact() -> AbstractContextManager[None]:
    """Let convolutions on a GPU give the same numbers every time, with all the digits of float32."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags
