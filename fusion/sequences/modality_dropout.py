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
    alpha = torch.randint(0, 100, (len(y),), device=y.device) / 100
    silent, dark = (part._replace(rows=torch.zeros_like(part.rows)) for part in parts)
    sounds = [audio, _times(audio, alpha), silent, audio]
    pictures = [visual, _times(visual, 1 - alpha), visual, dark]
    heard, seen = (_says_something(part) for part in parts)
    return _mixed([sounds, pictures], y, [heard | seen, heard | seen, seen, heard])


def noise(parts: list[FrameBatch], y: Tensor) -> Enlarged:
    """Return three times the clips: clean, with noise for sound, with noise for picture; in a new order."""
    (audio, loud), (visual, flicker) = ((part, _noise(part)) for part in parts)
    heard, seen = _says_something(audio), _says_something(visual)
    return _mixed([[audio, loud, audio], [visual, visual, flicker]], y, [heard | seen, seen, heard])


DROPOUTS: dict[Dropout, Callable[[list[FrameBatch], Tensor], Enlarged] | None] = {
    "softhard": softhard,
    "noise": noise,
    "nodropout": None,
}


def _times(part: FrameBatch, factor: Tensor) -> FrameBatch:
    """Return the rows of each clip times its factor."""
    return part._replace(rows=part.rows * factor[part.owners][:, None])


def _noise(part: FrameBatch) -> FrameBatch:
    return part._replace(rows=torch.randn_like(part.rows) * part.valid[:, None])


def _mixed(inputs: Sequence[Sequence[FrameBatch]], y: Tensor, something: Sequence[Tensor]) -> Enlarged:
    """Return all copies in a new order, but for those of clips that have nothing left that says something."""
    parts = [FrameBatch(*(torch.cat(x) for x in zip(*own, strict=True))) for own in inputs]
    order = torch.randperm(len(something) * len(y), device=y.device)
    order = order[torch.cat(list(something))[order]]
    return [part.of(order) for part in parts], torch.cat([y] * len(something))[order]


def _says_something(part: FrameBatch) -> Tensor:
    """Return `[N]`, whether any value of a clip is not zero."""
    rows = part.rows.any(dim=1).to(torch.int64)
    counts = torch.zeros_like(part.lengths).index_add(0, part.owners, rows)
    return counts > 0
