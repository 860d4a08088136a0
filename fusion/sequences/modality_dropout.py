"""Training clips that lack a modality, made of such that have both (katerynaCh, SYSTEMS 3.7)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from classifiers.frames import FrameBatch
from fusion.sequences.options import Dropout

Enlarged = tuple[list[FrameBatch], Tensor]


def softhard(parts: list[FrameBatch], y: Tensor) -> Enlarged:
    """Return four times the clips: clean, both weakened, without sound, without picture; in a new order.

    Weakened are alpha times the sound and 1 - alpha times the picture, alpha of 0, 0.01, ..., 0.99 per clip.
    """
    audio, visual = parts
    alpha = torch.randint(0, 100, (len(y), 1, 1), device=y.device) / 100
    silent, dark = (
        _with(audio, torch.zeros_like(audio.values)),
        _with(visual, torch.zeros_like(visual.values)),
    )
    sounds = [audio, _with(audio, alpha * audio.values), silent, audio]
    pictures = [visual, _with(visual, (1 - alpha) * visual.values), visual, dark]
    return _mixed([sounds, pictures], y)


def noise(parts: list[FrameBatch], y: Tensor) -> Enlarged:
    """Return three times the clips: clean, with noise for sound, with noise for picture; in a new order."""
    audio, visual = parts
    sounds = [audio, _with(audio, torch.randn_like(audio.values)), audio]
    pictures = [visual, visual, _with(visual, torch.randn_like(visual.values))]
    return _mixed([sounds, pictures], y)


DROPOUTS: dict[Dropout, Callable[[list[FrameBatch], Tensor], Enlarged] | None] = {
    "softhard": softhard,
    "noise": noise,
    "nodropout": None,
}


def _with(part: FrameBatch, values: Tensor) -> FrameBatch:
    """Return the same rows with other values, and zeros where they are not valid."""
    return part._replace(values=values * part.valid[:, :, None])


def _mixed(inputs: Sequence[Sequence[FrameBatch]], y: Tensor) -> Enlarged:
    """Return all copies in a new order, but for those of clips that now have nothing at all."""
    copies = len(inputs[0])
    parts = [FrameBatch(*(torch.cat(x) for x in zip(*own, strict=True))) for own in inputs]
    empty = torch.stack([~part.values.flatten(1).any(dim=1) for part in parts]).all(dim=0)
    order = torch.randperm(copies * len(y), device=y.device)
    order = order[~empty[order]]
    return [part.of(order) for part in parts], y.repeat(copies)[order]
