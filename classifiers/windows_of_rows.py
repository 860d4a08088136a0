"""Neighbouring rows of one clip brought together, with the gradients written out.

What PyTorch does by itself with slices of rows costs more than the products between them.
"""

from typing import Any

import torch
from torch import Tensor


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, starts: Tensor, width: int) -> Tensor:
        ctx.save_for_backward(starts)
        ctx.shape, ctx.width = rows.shape, width
        count, channels = rows.shape
        overlapping = rows.contiguous().as_strided((count - width + 1, width * channels), (channels, 1))
        return overlapping.index_select(0, starts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (starts,) = ctx.saved_tensors
        return _added(gradients[0], starts, ctx.shape, ctx.width), None, None


class _RectifiedMaxima(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, starts: Tensor) -> Tensor:
        first, second = rows.index_select(0, starts), rows.index_select(0, starts + 1)
        larger = torch.maximum(first, second).clamp_min_(0)
        ctx.save_for_backward(starts, (first >= second) & (larger > 0), (first < second) & (larger > 0))
        ctx.shape = rows.shape
        return larger

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        starts, of_first, of_second = ctx.saved_tensors
        both = torch.cat([gradients[0] * of_first, gradients[0] * of_second], dim=1)
        return _added(both, starts, ctx.shape, 2), None


def _added(parts: Tensor, starts: Tensor, shape: tuple[int, int], width: int) -> Tensor:
    """Return `[M, C]`: the sum of what windows `[S, width * C]` say of each row.

    Adding slices of all rows is several times as fast here as adding to chosen ones.
    """
    everywhere = parts.new_zeros(shape[0] - width + 1, parts.shape[1]).index_copy_(0, starts, parts)
    out = parts.new_zeros(shape)
    for k, part in enumerate(everywhere.chunk(width, dim=1)):
        out[k : k + len(part)] += part
    return out


def windows(rows: Tensor, starts: Tensor, width: int) -> Tensor:
    """Return `[S, width * C]`: of `[M, C]` the rows from each start on, side by side."""
    found: Tensor = _Windows.apply(rows, starts, width)
    return found


def rectified_maxima(rows: Tensor, starts: Tensor) -> Tensor:
    """Return `[S, C]`: the larger of each row of `[M, C]` at a start and the next one, or 0."""
    found: Tensor = _RectifiedMaxima.apply(rows, starts)
    return found
