"""MViT and MViTv2, named as in PySlowFast.

Fan et al. 2021, arXiv 2104.11227; Li et al. 2022, arXiv 2112.01526.

Tokens lie channels-last all the way, `[N, L, C]` as `[N, T, H, W, C]`, which is how convolutions run best, so
that pooling the queries, keys and values of all heads is one convolution each and nothing is transposed for
it. Relative positions are not added to a map of all pairs: with one-hot places beside the keys, and what each
query says of each place beside the queries, the product of both is the sum.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from extractors.networks.body import Body
from extractors.networks.config import MViTSection, NetworkConfig
from extractors.networks.mvit_shapes import BlockShape, Grid, block_shapes

_EPSILON = 1e-6


def _heads(conv: nn.Conv3d, heads: int, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """Pool `[N, L, heads * C]` tokens of a grid, every head by the same convolution per channel."""
    n, _, width = tokens.shape
    maps = tokens.view(n, *grid, width).permute(0, 4, 1, 2, 3)
    weight = conv.weight.repeat(heads, 1, 1, 1, 1)
    pooled = functional.conv3d(maps, weight, None, conv.stride, conv.padding, 1, width)
    t, h, w = pooled.shape[2:]
    return pooled.permute(0, 2, 3, 4, 1).reshape(n, t * h * w, width), (t, h, w)


class Attention(nn.Module):
    """Pooling attention with relative positions and residual queries."""

    def __init__(self, section: MViTSection, block: BlockShape) -> None:
        super().__init__()
        self.heads = block.heads
        size = block.attended // block.heads
        self.qkv = nn.Linear(block.inputs, 3 * block.attended, bias=section.QKV_BIAS)
        self.proj = nn.Linear(block.attended, block.attended)
        for name, kernel, stride in (
            ("q", block.kernel_q, block.stride_q),
            ("k", block.kernel_kv, block.stride_kv),
            ("v", block.kernel_kv, block.stride_kv),
        ):
            if math.prod(kernel) > 1 or math.prod(stride) > 1:
                t, h, w = (k // 2 for k in kernel)
                conv = nn.Conv3d(size, size, kernel, stride, (t, h, w), groups=size, bias=False)
                setattr(self, f"pool_{name}", conv)
                setattr(self, f"norm_{name}", nn.LayerNorm(size, eps=_EPSILON))
        if section.REL_POS_SPATIAL:
            side = 2 * max(block.grid[1] // block.stride_q[1], block.grid[1] // block.stride_kv[1]) - 1
            self.rel_pos_h = nn.Parameter(torch.zeros(side, size))
            self.rel_pos_w = nn.Parameter(torch.zeros(side, size))
        if section.REL_POS_TEMPORAL:
            self.rel_pos_t = nn.Parameter(torch.zeros(2 * block.grid[0] - 1, size))
        self.residual = section.RESIDUAL_POOLING
        self.cls = section.CLS_EMBED_ON

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Attend; return tokens on the grid of the pooled queries."""
        width = self.proj.in_features
        weights = self.qkv.weight.split(width)
        biases = self.qkv.bias.split(width) if self.qkv.bias is not None else (None,) * 3
        (q, grid_q), (k, grid_k), (v, _) = (
            self._pooled(name, functional.linear(x, w, b), grid)
            for name, w, b in zip("qkv", weights, biases, strict=True)
        )
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [N, heads, L, C]
        asked, places = self._positions(q, grid_q, grid_k)
        scale = q.shape[-1] ** -0.5
        if asked is None:
            out = functional.scaled_dot_product_attention(q, k, v, scale=scale)
        else:
            more = asked.shape[-1]
            wide = torch.cat([q * scale, asked], dim=-1)
            keys = torch.cat([k, places.expand(*k.shape[:2], -1, -1)], dim=-1)
            values = functional.pad(v, (0, more))  # the fused kernel wants equal widths
            out = functional.scaled_dot_product_attention(wide, keys, values, scale=1.0)[..., :-more]
        if self.residual:
            first = 1 if self.cls else 0
            out[:, :, first:] += q[:, :, first:]
        return self.proj(out.transpose(1, 2).flatten(2)), grid_q

    def _pooled(self, name: str, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Return `[N, L', heads, C]` tokens, pooled and normalised, and their grid."""
        conv: nn.Conv3d | None = getattr(self, f"pool_{name}", None)
        n = len(tokens)
        if conv is None:
            return tokens.view(n, -1, self.heads, tokens.shape[-1] // self.heads), grid
        first = 1 if self.cls else 0
        pooled, grid = _heads(conv, self.heads, tokens[:, first:], grid)
        joined = torch.cat([tokens[:, :first], pooled], dim=1) if first else pooled
        norm: nn.LayerNorm = getattr(self, f"norm_{name}")
        return norm(joined.view(n, -1, self.heads, norm.normalized_shape[0])), grid

    def _positions(self, q: Tensor, grid_q: Grid, grid_k: Grid) -> tuple[Tensor | None, Tensor]:
        """Return what each query says of each place, `[N, heads, L, P]`, and the keys' places."""
        tables = [getattr(self, f"rel_pos_{axis}", None) for axis in "thw"]
        if all(table is None for table in tables):
            return None, q
        first = 1 if self.cls else 0
        on_grid = q[:, :, first:].unflatten(2, grid_q)  # [N, heads, T, H, W, C]
        asked, places = [], []
        index = torch.cartesian_prod(*(torch.arange(size, device=q.device) for size in grid_k))
        for axis, (table, equation) in enumerate(
            zip(tables, ("bnthwc,tkc->bnthwk", "bnthwc,hkc->bnthwk", "bnthwc,wkc->bnthwk"), strict=True)
        ):
            if table is None:
                continue
            relative = _between(table, grid_q[axis], grid_k[axis])
            asked.append(torch.einsum(equation, on_grid, relative).flatten(2, 4))
            places.append(functional.one_hot(index[:, axis], grid_k[axis]).to(q.dtype))
        said, place = torch.cat(asked, dim=-1), torch.cat(places, dim=-1)
        if first:  # the class token has no place
            said, place = functional.pad(said, (0, 0, 1, 0)), functional.pad(place, (0, 0, 1, 0))
        return said, place


def _between(table: Tensor, queries: int, keys: int) -> Tensor:
    """Return `[queries, keys, C]`: the entry for the distance of each pair along one axis."""
    length = 2 * max(queries, keys) - 1
    if len(table) != length:  # trained on another size
        table = functional.interpolate(table.T[None].float(), size=length, mode="linear")[0].T.to(table.dtype)
    per_query, per_key = max(keys / queries, 1.0), max(queries / keys, 1.0)
    places = torch.arange(queries)[:, None] * per_query - torch.arange(keys)[None] * per_key
    return table[(places + (keys - 1) * per_key).long().to(table.device)]


class Perceptron(nn.Module):
    """Two layers per token."""

    def __init__(self, inputs: int, outputs: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, int(inputs * ratio))
        self.fc2 = nn.Linear(int(inputs * ratio), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, L, C]`."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and a perceptron, either of which may widen the tokens."""

    def __init__(self, section: MViTSection, block: BlockShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(block.inputs, eps=_EPSILON)
        self.attn = Attention(section, block)
        self.norm2 = nn.LayerNorm(block.attended, eps=_EPSILON)
        self.mlp = Perceptron(block.attended, block.outputs, section.MLP_RATIO)
        self.early = section.DIM_MUL_IN_ATT
        if block.inputs != block.outputs:
            self.proj: nn.Module | None = nn.Linear(block.inputs, block.outputs)
        else:
            self.proj = None
        self.stride, self.cls = block.stride_q, section.CLS_EMBED_ON

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Return tokens, and their grid."""
        normed = self.norm1(x)
        attended, grid_q = self.attn(normed, grid)
        if self.proj is not None and self.early:
            x = self.proj(normed)
        x = self._skipped(x, grid) + attended
        normed = self.norm2(x)
        if self.proj is not None and not self.early:
            x = self.proj(normed)
        return x + self.mlp(normed), grid_q

    def _skipped(self, x: Tensor, grid: Grid) -> Tensor:
        """Bring the shortcut onto the grid of the queries."""
        if math.prod(self.stride) == 1:
            return x
        first = 1 if self.cls else 0
        kernel = [s + 1 if s > 1 else s for s in self.stride]
        maps = x[:, first:].view(len(x), *grid, -1).permute(0, 4, 1, 2, 3)
        pooled = functional.max_pool3d(maps, kernel, self.stride, [k // 2 for k in kernel])
        tokens = pooled.permute(0, 2, 3, 4, 1).flatten(1, 3)
        return torch.cat([x[:, :first], tokens], dim=1)


class PatchEmbed(nn.Module):
    """Overlapping patches."""

    def __init__(self, section: MViTSection) -> None:
        super().__init__()
        self.proj = nn.Conv3d(
            3, section.EMBED_DIM, section.PATCH_KERNEL, section.PATCH_STRIDE, section.PATCH_PADDING
        )


class Head(nn.Module):
    """The projection alone."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, classes)


class MViTModel(nn.Module):
    """Everything that a checkpoint of MViT holds."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        section = config.MVIT
        t, h, w = (
            size // stride
            for size, stride in zip(
                (config.DATA.NUM_FRAMES, config.DATA.TRAIN_CROP_SIZE, config.DATA.TRAIN_CROP_SIZE),
                section.PATCH_STRIDE,
                strict=True,
            )
        )
        self.patch_embed = PatchEmbed(section)
        width = section.EMBED_DIM
        if section.CLS_EMBED_ON:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if section.USE_ABS_POS and section.SEP_POS_EMBED:
            self.pos_embed_spatial = nn.Parameter(torch.zeros(1, h * w, width))
            self.pos_embed_temporal = nn.Parameter(torch.zeros(1, t, width))
            if section.CLS_EMBED_ON:
                self.pos_embed_class = nn.Parameter(torch.zeros(1, 1, width))
        elif section.USE_ABS_POS:
            self.pos_embed = nn.Parameter(torch.zeros(1, t * h * w + section.CLS_EMBED_ON, width))
        shapes = block_shapes(section, (t, h, w))
        self.blocks = nn.ModuleList(Block(section, shape) for shape in shapes)
        self.norm = nn.LayerNorm(shapes[-1].outputs, eps=_EPSILON)
        self.head = Head(shapes[-1].outputs, config.MODEL.NUM_CLASSES)
        for name, parameter in self.named_parameters():
            if name.startswith(("cls_", "pos_")) or ".rel_pos_" in name:
                nn.init.trunc_normal_(parameter, std=0.02)


class MViTBody(Body):
    """MViT up to the input of its projection: the class token, or the mean of all."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.model: MViTModel = MViTModel(config)
        self._section = config.MVIT

    def forward(self, pathways: Sequence[Tensor]) -> list[Tensor]:
        """Return `[N, L, C]` tokens, not normalised yet."""
        model, section = self.model, self._section
        maps = model.patch_embed.proj(pathways[0])
        t, h, w = maps.shape[2:]
        x = maps.permute(0, 2, 3, 4, 1).flatten(1, 3)
        if section.USE_ABS_POS and section.SEP_POS_EMBED:
            x = x + model.pos_embed_spatial.repeat(1, t, 1)
            x = x + model.pos_embed_temporal.repeat_interleave(h * w, dim=1)
        if section.CLS_EMBED_ON:
            token = model.cls_token.expand(len(x), -1, -1)
            if section.USE_ABS_POS and section.SEP_POS_EMBED:
                token = token + model.pos_embed_class
            x = torch.cat([token, x], dim=1)
        if section.USE_ABS_POS and not section.SEP_POS_EMBED:
            x = x + model.pos_embed
        grid = (t, h, w)
        for block in model.blocks:
            x, grid = block(x, grid)
        return [x]

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Normalise, and take the class token or the mean."""
        x, norm, section = maps[0].float(), self.model.norm, self._section
        weight, bias = norm.weight.float(), norm.bias.float()
        if section.USE_MEAN_POOLING:
            x = x[:, 1:] if section.CLS_EMBED_ON else x
            return functional.layer_norm(x.mean(dim=1), norm.normalized_shape, weight, bias, _EPSILON)
        x = x[:, :1] if section.CLS_EMBED_ON else x
        return functional.layer_norm(x, norm.normalized_shape, weight, bias, _EPSILON).mean(dim=1)
