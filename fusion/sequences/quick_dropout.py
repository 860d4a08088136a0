"""Dropout whose dice cost a CPU little."""

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class QuickDropout(nn.Dropout):
    """`nn.Dropout` that draws 16 bits for each value, four values at once.

    On a CPU PyTorch draws a 32-bit number for each, which took a sixth of a small conformer's time. The share
    that falls out is p to the nearest of 65,536 steps.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return values of which some are zero, and the others as much larger."""
        dropped = round(self.p * _LEVELS)
        if not self.training or x.is_cuda or dropped == 0:
            return super().forward(x)
        bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        drawn = bits.view(torch.int16)[: x.numel()].view(x.shape)
        return x * ((drawn >= dropped - _LEVELS // 2) * (_LEVELS / (_LEVELS - dropped)))
