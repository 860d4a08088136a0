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
        larger = torch.maximum(rows[:-1], rows[1:]).index_select(0, starts).clamp_min_(0)
        ctx.save_for_backward(rows, starts, larger)
        return larger

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows, starts, larger = ctx.saved_tensors
        everywhere = rows.new_zeros(len(rows) - 1, rows.shape[1])
        everywhere.index_copy_(0, starts, gradients[0] * (larger > 0))
        of_first = everywhere * (rows[:-1] >= rows[1:])
        out = torch.zeros_like(rows)
        out[:-1] = of_first
        out[1:] += everywhere.sub_(of_first)
        return out, None


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
