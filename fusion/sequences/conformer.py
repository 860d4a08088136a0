"""Conformers (Gulati et al. 2020) on the rows of clips, whatever other clips are with them."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from classifiers.frames import FrameBatch
from classifiers.temporal import RowNorm
from fusion.sequences.quick_dropout import QuickDropout


class ConformerLayer(nn.Module):
    """Half a feed-forward step, attention, convolution, half a feed-forward step, normalisation.

    Args:
        width: Of the rows.
        heads: That attend side by side; they divide the width.
        kernel: Rows that the convolution sees, an odd number.
        dropout: After every part.
    """

    def __init__(self, width: int, heads: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = (_feed_forward(width, dropout) for _ in range(2))
        self.attention = RelativeAttention(width, heads, dropout)
        self.convolution = ConvolutionModule(width, kernel, dropout)
        self.normalise = nn.LayerNorm(width)

    def forward(self, batch: FrameBatch) -> FrameBatch:
        """Return `[M, width]`."""
        rows = batch.rows + 0.5 * self.first(batch.rows)
        rows = rows + self.attention(batch._replace(rows=rows))
        rows = rows + self.convolution(batch._replace(rows=rows))
        rows = rows + 0.5 * self.second(rows)
        return batch._replace(rows=self.normalise(rows))


class RelativeAttention(nn.Module):
    """Attention inside each clip, by content and by how far apart rows are (Dai et al. 2019).

    Args:
        width: Of the rows.
        heads: How many attend side by side.
        dropout: Of what comes out.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.normalise = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.position = nn.Linear(width, width, bias=False)
        self.content_bias, self.position_bias = (
            nn.Parameter(torch.zeros(heads, 1, width // heads)) for _ in range(2)
        )
        self.out = nn.Sequential(nn.Linear(width, width), QuickDropout(dropout))

    def forward(self, batch: FrameBatch) -> Tensor:
        """Return `[M, width]`."""
        mixed = batch._replace(rows=self.query_key_value(self.normalise(batch.rows)))
        padded, valid, places = mixed.padded()  # [N, T, 3 * width]
        q, k, v = (self._headed(x) for x in padded.chunk(3, dim=-1))
        # Of a clip without a valid row all are attended to, for an empty softmax is NaN.
        seen = valid | ~valid.any(dim=1, keepdim=True)
        bias = self._by_distance(q + self.position_bias) / math.sqrt(q.shape[-1])
        bias = bias.masked_fill(~seen[:, None, None, :], -torch.inf)
        attended = functional.scaled_dot_product_attention(q + self.content_bias, k, v, attn_mask=bias)
        rows: Tensor = self.out(attended.transpose(1, 2).flatten(2).flatten(0, 1)[places])
        return rows

    def _by_distance(self, q: Tensor) -> Tensor:
        """Return `[N, heads, T, T]`: at i, j what query i says of the distance i - j."""
        T = q.shape[2]
        far = self._headed(self.position(distances(T, q))[None])[0]  # [heads, 2 T - 1, d]: T - 1 ... 1 - T
        scores = q @ far.transpose(1, 2)  # [N, heads, T, 2 T - 1]
        # Row i needs the columns from T - 1 - i on; in a row that is one longer they begin where the next
        # row's would.
        shifted = functional.pad(scores, (0, 1)).flatten(2)[:, :, T - 1 : T - 1 + T * (2 * T - 1)]
        return shifted.unflatten(2, (T, 2 * T - 1))[..., :T]

    def _headed(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class ConvolutionModule(nn.Module):
    """A gated mixture of channels, a convolution of each over time, normalised, and mixed again.

    Args:
        width: Of the rows.
        kernel: Rows that it sees, an odd number.
        dropout: Of what comes out.
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.gated = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GLU())
        self.over_time = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.normalise = RowNorm(width)
        self.out = nn.Sequential(nn.SiLU(), nn.Linear(width, width), QuickDropout(dropout))

    def forward(self, batch: FrameBatch) -> Tensor:
        """Return `[M, width]`."""
        mixed = batch._replace(rows=self.gated(batch.rows) * batch.valid[:, None])
        padded, _, places = mixed.padded()
        spread = self.over_time(padded.transpose(1, 2)).transpose(1, 2).flatten(0, 1)[places]
        rows: Tensor = self.out(self.normalise(batch._replace(rows=spread)).rows)
        return rows


def distances(T: int, like: Tensor) -> Tensor:
    """Return `[2 T - 1, heads * d]` sines and cosines of the distances T - 1, ..., 1 - T."""
    width = like.shape[1] * like.shape[3]
    far = torch.arange(T - 1, -T, -1, device=like.device, dtype=like.dtype)
    steps = torch.arange(0, width, 2, device=like.device, dtype=like.dtype)
    angles = far[:, None] * torch.exp(-math.log(10_000.0) * steps / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 4 * width),
        nn.SiLU(),
        QuickDropout(dropout),
        nn.Linear(4 * width, width),
        QuickDropout(dropout),
    )
