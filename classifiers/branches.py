"""The network of `dense-dropout`, `mel-cnn` and `concat`: branches side by side, joined, classified.

The three classifiers of VAER (SYSTEMS 6.2) are one network: a branch of the one kind, of the other, or both.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Part(NamedTuple):
    """One input of a batch of clips.

    Attributes:
        values: `[N, D]` vectors or `[N, T, D]` frames, padded at the end with anything.
        lengths: `[N]` real frames; None of vectors.
    """

    values: Tensor
    lengths: Tensor | None = None


def dense(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers between these sizes, each followed by ReLU and dropout."""
    layers: list[nn.Module] = []
    for given, wanted in itertools.pairwise(sizes):
        layers += [nn.Linear(given, wanted), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class DenseBranch(nn.Module):
    """A vector, through linear layers.

    Args:
        inputs: D.
        sizes: Units of each layer.
        dropout: After each layer.
    """

    def __init__(self, inputs: int, sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = dense([inputs, *sizes], dropout)
        self.width = sizes[-1]

    def forward(self, part: Part) -> Tensor:
        """Return `[N, width]`."""
        values: Tensor = self.layers(part.values)
        return values


class ConvBranch(nn.Module):
    """Frames as a picture of time and bands: 3x3 convolutions, 2x2 maxima, a global maximum, a linear layer.

    Every clip ends where it ends, whatever it was padded with: positions past its end are 0 before each
    convolution, as "same" padding has them. Halving rounds down, in time and in bands, but a clip keeps one
    position at least: the maximum is then of the frames that there are.

    Args:
        channels: Of each convolution.
        width: Units of the linear layer.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        pairs = itertools.pairwise([1, *channels])
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.layers = dense([channels[-1], width])
        self.width = width

    def forward(self, part: Part) -> Tensor:
        """Return `[N, width]`."""
        if part.lengths is None:
            raise ValueError("frames come with their lengths")
        lengths = part.lengths
        x = _ended(part.values[:, None], lengths)  # [N, C, T, B]
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv2d)  # noqa: S101  # as the constructor made them
            # With its weights in this order a CPU is half again as fast.
            weight = convolution.weight.contiguous(memory_format=torch.channels_last)
            x = functional.conv2d(x, weight, convolution.bias, padding=1)
            if (lengths < 2).any():  # elsewhere no maximum that is kept reaches past an end
                x = _ended(x, lengths)
            # ReLU of the maxima is the maximum of ReLU, at a quarter of the work. It gives 0 or more, so
            # that zeros past the end never are a maximum that the clip has not.
            x = functional.max_pool2d(x, (min(2, x.shape[2]), min(2, x.shape[3]))).relu()
            lengths = (lengths // 2).clamp(min=1)
            x = _ended(x, lengths)  # of an odd number of frames the last one falls away
        pooled: Tensor = self.layers(x.amax(dim=(2, 3)))
        return pooled


def _ended(x: Tensor, lengths: Tensor) -> Tensor:
    """Return `[N, C, T, B]` with zeros past each clip's end."""
    past = torch.arange(x.shape[2], device=x.device) >= lengths[:, None]
    return x.masked_fill(past[:, None, :, None], 0)


class BranchedNetwork(nn.Module):
    """Branches side by side, what they give in one row, more linear layers, K logits.

    Args:
        branches: One per input, in their order.
        joined: Units of the layers after the branches.
        classes: K.
    """

    def __init__(
        self, branches: Sequence[DenseBranch | ConvBranch], joined: Sequence[int], classes: int
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        sizes = [sum(b.width for b in branches), *joined]
        self.joined = dense(sizes)
        self.out = nn.Linear(sizes[-1], classes)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Return `[N, K]` logits."""
        rows = [branch(part) for branch, part in zip(self.branches, parts, strict=True)]
        logits: Tensor = self.out(self.joined(torch.cat(rows, dim=1)))
        return logits
