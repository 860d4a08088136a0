"""A convolution that makes two frames at once."""

import torch
from torch import nn


class PairedFrames(nn.Module):
    """A convolution that makes two frames at once: the same function, with twice the output channels.

    Eight output channels, as in the first layer of the fast pathway, fill half of a register of AVX-512.

    Args:
        conv: Of odd sizes, padded by half of them, with stride 1 over the frames. The number of frames that
            it is given must be even.
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        frames, height, width = conv.kernel_size
        self.channels = conv.out_channels
        self.conv = nn.Conv3d(
            conv.in_channels,
            2 * self.channels,
            (frames + 1, height, width),
            (2, conv.stride[1], conv.stride[2]),
            (frames // 2, height // 2, width // 2),
        ).requires_grad_(False)
        assert conv.bias is not None  # noqa: S101  # the normalisation was folded into it
        assert self.conv.bias is not None  # noqa: S101
        self.conv.weight.zero_()
        self.conv.weight[: self.channels, :, :-1] = conv.weight
        self.conv.weight[self.channels :, :, 1:] = conv.weight
        self.conv.bias.copy_(conv.bias.repeat(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[N, C, T, H, W]`, channels last in memory."""
        pairs = self.conv(x).permute(0, 2, 3, 4, 1)
        n, t, h, w, _ = pairs.shape
        apart = pairs.reshape(n, t, h, w, 2, self.channels).permute(0, 1, 4, 2, 3, 5)
        return apart.reshape(n, 2 * t, h, w, self.channels).permute(0, 4, 1, 2, 3)
