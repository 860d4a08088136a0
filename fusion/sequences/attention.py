"""Attention of one sequence on another (katerynaCh, SYSTEMS 3.6)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossAttention(nn.Module):
    """Queries of one sequence, keys and values of another.

    Args:
        key_width: Width of the sequence that is attended to.
        query_width: Width of the one that attends, and of what comes out.
        heads: How many attend side by side.
    """

    def __init__(self, key_width: int, query_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(query_width, query_width, bias=False)
        self.key_value = nn.Linear(key_width, 2 * query_width, bias=False)
        self.out = nn.Linear(query_width, query_width)

    def forward(self, keys: Tensor, queries: Tensor, valid: Tensor) -> Tensor:
        """Return `[N, Tq, query_width]`.

        Args:
            keys: `[N, Tk, key_width]`.
            queries: `[N, Tq, query_width]`.
            valid: `[N, Tk]` bool; keys that may be attended to.
        """
        q, k, v = self._split(queries, keys)
        # Of a clip without a valid key all are attended to: they are zeros, and an empty softmax is NaN.
        mask = (valid | ~valid.any(dim=1, keepdim=True))[:, None, None, :]
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out

    def weights(self, keys: Tensor, queries: Tensor, valid: Tensor) -> Tensor:
        """Return `[N, Tq, Tk]`, how much each query attends to each key, mean of the heads; rows sum to 1."""
        q, k, _ = self._split(queries, keys)
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        mask = (valid | ~valid.any(dim=1, keepdim=True))[:, None, None, :]
        weights: Tensor = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).mean(dim=1)
        return weights

    def _split(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, `[N, heads, T, width / heads]` each."""
        q = self.query(queries)
        k, v = self.key_value(keys).chunk(2, dim=-1)
        return self._headed(q), self._headed(k), self._headed(v)

    def _headed(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CrossBlock(nn.Module):
    """Attention on normalised sequences without a way around it, then a perceptron with one.

    Args:
        key_width: Width of the sequence that is attended to.
        query_width: Width of the one that attends, and of what comes out.
        heads: How many attend side by side.
    """

    def __init__(self, key_width: int, query_width: int, heads: int) -> None:
        super().__init__()
        self.normalise_query, self.normalise_key = nn.LayerNorm(query_width), nn.LayerNorm(key_width)
        self.attention = CrossAttention(key_width, query_width, heads)
        self.normalise = nn.LayerNorm(query_width)
        self.perceptron = nn.Sequential(
            nn.Linear(query_width, 2 * query_width), nn.GELU(), nn.Linear(2 * query_width, query_width)
        )

    def forward(self, keys: Tensor, queries: Tensor, valid: Tensor) -> Tensor:
        """Return `[N, Tq, query_width]`; see `CrossAttention`."""
        z = self.attention(self.normalise_key(keys), self.normalise_query(queries), valid)
        out: Tensor = z + self.perceptron(self.normalise(z))
        return out
