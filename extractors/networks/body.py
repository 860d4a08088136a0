"""What every clip network gives: maps of its last layer, and from them the input of its projection."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Body(nn.Module):
    """A clip network up to the input of its final projection.

    `forward` holds nearly all of the work and runs in any precision; `pool` runs in float32.

    Attributes:
        model: All of the network with PySlowFast's parameter names, its projection included.
    """

    model: nn.Module

    def pathways(self, clip: Tensor) -> list[Tensor]:
        """Return what the network is fed with, from `[N, 3, T, H, W]`."""
        return [clip]

    @abstractmethod
    def forward(self, pathways: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps before pooling, one per pathway."""

    @abstractmethod
    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Return `[N, D]`: the input of the projection, averaged over the positions that remain."""

    def quicken(self, device: torch.device) -> None:  # not every network can be
        """Change the network into a faster one of the same function, for a device."""


def average(maps: Tensor, size: Sequence[int] | None) -> Tensor:
    """Pool `[N, C, T, H, W]` in float32, for which bfloat16 has no kernel on CPUs, as the head does.

    A map smaller than what the head pools, and any map where the size is None, is averaged whole.
    """
    if size is None:
        return maps.float().mean(dim=(2, 3, 4), keepdim=True)
    fitting = [min(pair) for pair in zip(size, maps.shape[2:], strict=True)]
    return nn.functional.avg_pool3d(maps.float(), fitting, stride=1)
