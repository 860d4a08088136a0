"""X3D (Feichtenhofer 2020, arXiv 2004.04730), with the parameter names of PySlowFast."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from extractors.folding import fold_batch_norms
from extractors.networks.body import Body, average
from extractors.networks.config import NetworkConfig

_BASIS = (1, 2, 5, 3)  # blocks per stage at a depth factor of 1
_SQUEEZE = 0.0625


def round_width(width: float, factor: float) -> int:
    """Return a width times a factor as a multiple of 8, at least 8 and never a tenth less than asked."""
    wanted = width * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class SqueezeExcite(nn.Module):
    """A gate per channel, from the mean over the clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = round_width(channels, _SQUEEZE)
        self.fc1 = nn.Conv3d(channels, inner, 1)
        self.fc2 = nn.Conv3d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, C, T, H, W]`."""
        gate = x.mean(dim=(2, 3, 4), keepdim=True)
        return x * self.fc2(self.fc1(gate).relu()).sigmoid()


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 per channel, 1x1x1."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        self.a = nn.Conv3d(inputs, inner, 1, bias=False)
        self.a_bn = nn.BatchNorm3d(inner)
        self.b = nn.Conv3d(inner, inner, 3, (1, stride, stride), 1, groups=inner, bias=False)
        self.b_bn = nn.BatchNorm3d(inner)
        self.se = SqueezeExcite(inner) if squeeze else nn.Identity()
        self.c = nn.Conv3d(inner, outputs, 1, bias=False)
        self.c_bn = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, C, T, H, W]`."""
        x = self.a_bn(self.a(x)).relu_()
        x = self.se(self.b_bn(self.b(x)))
        return self.c_bn(self.c(nn.functional.silu(x, inplace=True)))


class Block(nn.Module):
    """A bottleneck with its shortcut."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        self.branch1: nn.Module | None = None
        if inputs != outputs or stride != 1:
            self.branch1 = nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False)
            self.branch1_bn = nn.BatchNorm3d(outputs)
        self.branch2 = Bottleneck(inputs, inner, outputs, stride, squeeze)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, C, T, H, W]`."""
        shortcut = x if self.branch1 is None else self.branch1_bn(self.branch1(x))
        return self.branch2(x).add_(shortcut).relu_()


class Stem(nn.Module):
    """3x3 over the picture, then 5 over time per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_xy = nn.Conv3d(3, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.conv = nn.Conv3d(channels, channels, (5, 1, 1), 1, (2, 0, 0), groups=channels, bias=False)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[N, C, T, H / 2, W / 2]`."""
        return self.bn(self.conv(self.conv_xy(x))).relu_()


class Head(nn.Module):
    """A wide 1x1x1, pooling, a linear layer, and the projection."""

    def __init__(self, inputs: int, inner: int, outputs: int, classes: int, norm: bool) -> None:
        super().__init__()
        self.conv_5 = nn.Conv3d(inputs, inner, 1, bias=False)
        self.conv_5_bn = nn.BatchNorm3d(inner)
        self.lin_5 = nn.Conv3d(inner, outputs, 1, bias=False)
        self.lin_5_bn = nn.BatchNorm3d(outputs) if norm else nn.Identity()
        self.projection = nn.Linear(outputs, classes)


class X3DModel(nn.Module):
    """Everything that a checkpoint of X3D holds.

    Args:
        config: The network.
        rounded: Make every width a multiple of 8, as PySlowFast does.
    """

    def __init__(self, config: NetworkConfig, rounded: bool = True) -> None:
        super().__init__()
        x3d = config.X3D

        def widened(width: int) -> int:
            factor = x3d.WIDTH_FACTOR
            return round_width(width, factor) if rounded else int(width * factor)

        stem = widened(x3d.DIM_C1)
        width = round_width(x3d.DIM_C1, 2.0) if x3d.SCALE_RES2 else x3d.DIM_C1
        self.s1 = nn.ModuleDict({"pathway0_stem": Stem(stem)})
        inputs, inner = stem, stem
        for stage, basis in enumerate(_BASIS, start=2):
            outputs = widened(width)
            inner = int(x3d.BOTTLENECK_FACTOR * outputs)
            blocks = nn.ModuleDict()
            for i in range(math.ceil(x3d.DEPTH_FACTOR * basis)):
                block = Block(inputs if i == 0 else outputs, inner, outputs, 2 if i == 0 else 1, i % 2 == 0)
                blocks[f"pathway0_res{i}"] = block
            setattr(self, f"s{stage}", blocks)
            inputs, width = outputs, round_width(width, 2.0)
        self.head = Head(inputs, inner, x3d.DIM_C5, config.MODEL.NUM_CLASSES, x3d.BN_LIN5)


class X3DBody(Body):
    """X3D up to the input of its projection.

    Args:
        config: The network.
        stem: How many channels the stem of the checkpoint has; some narrow networks were made without
            rounding their widths.
    """

    def __init__(self, config: NetworkConfig, stem: int | None = None) -> None:
        super().__init__()
        exact = int(config.X3D.DIM_C1 * config.X3D.WIDTH_FACTOR)
        self.model: X3DModel = X3DModel(config, rounded=stem != exact)
        side = math.ceil(config.DATA.TRAIN_CROP_SIZE / 32)
        self._pool = None if config.MULTIGRID.SHORT_CYCLE else (config.DATA.NUM_FRAMES, side, side)

    def forward(self, pathways: Sequence[Tensor]) -> list[Tensor]:
        """Return `[N, C, T, H / 32, W / 32]`."""
        model, (x,) = self.model, pathways
        for stage in (model.s1, model.s2, model.s3, model.s4, model.s5):
            for block in stage.values():  # type: ignore[operator]
                x = block(x)
        return [model.head.conv_5_bn(model.head.conv_5(x)).relu_()]

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Pool, and go through the last hidden layer at every position that remains."""
        head = self.model.head
        pooled = average(maps[0], self._pool).permute(0, 2, 3, 4, 1)
        weight, bias = head.lin_5.weight.float().flatten(1), head.lin_5.bias
        values = nn.functional.linear(pooled, weight, None if bias is None else bias.float())
        values = head.lin_5_bn(values.permute(0, 4, 1, 2, 3))  # nothing, where it was folded
        return values.relu().mean(dim=(2, 3, 4))

    def quicken(self, device: torch.device) -> None:
        """Fold the normalisations into the convolutions."""
        fold_batch_norms(self.model)
