"""EfficientFace (Zhao et al. 2021) up to its classifier; SYSTEMS 3.4. Names are those of its checkpoints."""

import torch
from torch import Tensor, nn

WIDTH = 1024
_STAGES = ((29, 116, 4), (116, 232, 8), (232, 464, 4))  # channels in, channels out, units
_REDUCED = 7  # channels inside of the attentions
_DILATION = 4


class Trunk(nn.Module):
    """`[N, 3, 224, 224]`, BGR in 0..1, becomes `[N, 1024]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _normalised(nn.Conv2d(3, 29, 3, 2, 1, bias=False))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2, self.stage3, self.stage4 = (_stage(*sizes) for sizes in _STAGES)
        self.local = _Local(29, 116)
        self.modulator = _Modulator(116)
        self.conv5 = _normalised(nn.Conv2d(464, WIDTH, 1, bias=False))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the input of the classifier."""
        maps = self.maxpool(self.conv1(pictures))
        maps = self.modulator(self.stage2(maps)) + self.local(maps)
        maps = self.conv5(self.stage4(self.stage3(maps)))
        return maps.mean(dim=(2, 3))


class _Unit(nn.Module):
    """A unit of ShuffleNet V2; the first of a stage halves the picture."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        half, stride = outputs // 2, 2 if first else 1
        if first:
            self.branch1 = nn.Sequential(
                nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
                nn.BatchNorm2d(inputs),
                *_normalised(nn.Conv2d(inputs, half, 1, bias=False)),
            )
        self.branch2 = nn.Sequential(
            *_normalised(nn.Conv2d(inputs if first else half, half, 1, bias=False)),
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            *_normalised(nn.Conv2d(half, half, 1, bias=False)),
        )
        self.first = first

    def forward(self, maps: Tensor) -> Tensor:
        """Return the channels of both branches in turn."""
        if self.first:
            kept, changed = self.branch1(maps), self.branch2(maps)
        else:
            kept, other = maps.chunk(2, dim=1)
            changed = self.branch2(other)
        # In turn, while channels stay last in memory: the next convolution is faster on that.
        both = [maps.permute(0, 2, 3, 1) for maps in (kept, changed)]
        return torch.stack(both, dim=4).flatten(3).permute(0, 3, 1, 2)


class _Local(nn.Module):
    """The four quarters of a picture, the left ones first, each with convolutions of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for i in range(1, 5):
            setattr(self, f"conv{i}_1", nn.Conv2d(inputs, outputs, 3, 2, 1, groups=inputs, bias=False))
            setattr(self, f"bn{i}_1", nn.BatchNorm2d(outputs))
            setattr(self, f"conv{i}_2", nn.Conv2d(outputs, outputs, 3, 1, 1, groups=outputs, bias=False))
            setattr(self, f"bn{i}_2", nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of half the width and height."""
        quarters = [quarter for half in maps.chunk(2, dim=3) for quarter in half.chunk(2, dim=2)]
        made = [self._convolved(i, quarter) for i, quarter in enumerate(quarters, start=1)]
        return torch.cat([torch.cat(made[:2], dim=2), torch.cat(made[2:], dim=2)], dim=3)

    def _convolved(self, i: int, maps: Tensor) -> Tensor:
        for j in (1, 2):
            maps = getattr(self, f"bn{i}_{j}")(getattr(self, f"conv{i}_{j}")(maps)).relu()
        return maps


class _Modulator(nn.Module):
    """Attention over channels times attention over places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_att = _Channels(channels)
        self.spatial_att = _Places(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps, weighted."""
        weights: Tensor = torch.sigmoid(self.channel_att(maps) * self.spatial_att(maps))
        return weights * maps


class _Channels(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate_c = nn.Sequential()
        self.gate_c.add_module("gate_c_fc_0", nn.Linear(channels, _REDUCED))
        self.gate_c.add_module("gate_c_bn_1", nn.BatchNorm1d(_REDUCED))
        self.gate_c.add_module("gate_c_relu_1", nn.ReLU())
        self.gate_c.add_module("gate_c_fc_final", nn.Linear(_REDUCED, channels))

    def forward(self, maps: Tensor) -> Tensor:
        weights: Tensor = self.gate_c(maps.mean(dim=(2, 3)))
        return weights[:, :, None, None]


class _Places(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate_s = nn.Sequential()
        self.gate_s.add_module("gate_s_conv_reduce0", nn.Conv2d(channels, _REDUCED, 1))
        self.gate_s.add_module("gate_s_bn_reduce0", nn.BatchNorm2d(_REDUCED))
        self.gate_s.add_module("gate_s_relu_reduce0", nn.ReLU())
        for i in range(2):
            dilated = nn.Conv2d(_REDUCED, _REDUCED, 3, padding=_DILATION, dilation=_DILATION)
            self.gate_s.add_module(f"gate_s_conv_di_{i}", dilated)
            self.gate_s.add_module(f"gate_s_bn_di_{i}", nn.BatchNorm2d(_REDUCED))
            self.gate_s.add_module(f"gate_s_relu_di_{i}", nn.ReLU())
        self.gate_s.add_module("gate_s_conv_final", nn.Conv2d(_REDUCED, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        weights: Tensor = self.gate_s(maps)
        return weights


def _stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    return nn.Sequential(*(_Unit(inputs if i == 0 else outputs, outputs, i == 0) for i in range(units)))


def _normalised(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())
