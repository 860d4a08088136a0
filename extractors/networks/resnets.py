"""SlowFast, Slow, I3D and C2D, built by PySlowFast itself (Feichtenhofer et al. 2019, arXiv 1812.03982)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from extractors.folding import fold_batch_norms
from extractors.networks.body import Body, average
from extractors.networks.config import NetworkConfig
from extractors.networks.paired import PairedFrames
from extractors.roi_align import provide_roi_align

_OLD_NAMES = {"slow": "slowonly"}  # as the released package calls it
_POOLED_FRAMES = {"i3d": 2, "c2d": 2}  # by the pooling after the first stage


class ResNetBody(Body):
    """A network of one or two pathways up to the input of its projection."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.model: Any = _built(config)
        self.alpha = config.alpha
        self.two = config.arch == "slowfast"
        side = config.DATA.TRAIN_CROP_SIZE // 32
        frames = config.DATA.NUM_FRAMES // _POOLED_FRAMES.get(config.arch, 1)
        counts = [frames // self.alpha, frames] if self.two else [frames]
        whole = config.MULTIGRID.SHORT_CYCLE
        self._pools = [None if whole else (count, side, side) for count in counts]

    def pathways(self, clip: Tensor) -> list[Tensor]:
        """Return the slow and the fast pathway, or the clip alone."""
        if not self.two:
            return [clip]
        chosen = clip[:, :, slow_frames(clip.shape[2], self.alpha)]
        return [chosen.contiguous(memory_format=torch.channels_last_3d), clip]

    def forward(self, pathways: Sequence[Tensor]) -> list[Tensor]:
        """Return every pathway before pooling, `[N, C, T, H, W]`."""
        model, x = self.model, list(pathways)  # PySlowFast changes the list
        pools = [model.pathway0_pool, model.pathway1_pool] if self.two else [model.pathway0_pool]
        for name in ("s1", "s1_fuse", "s2", "s2_fuse"):
            x = getattr(model, name)(x) if self.two or not name.endswith("fuse") else x
        x = [pool(y) for pool, y in zip(pools, x, strict=True)]
        for name in ("s3", "s3_fuse", "s4", "s4_fuse", "s5"):
            x = getattr(model, name)(x) if self.two or not name.endswith("fuse") else x
        return x

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Pool as the network's head does, and average what positions remain."""
        pooled = [average(x, size).mean(dim=(2, 3, 4)) for x, size in zip(maps, self._pools, strict=True)]
        return torch.cat(pooled, dim=1)

    def quicken(self, device: torch.device) -> None:
        """Fold the normalisations into the convolutions; on a CPU make two fast frames at once."""
        fold_batch_norms(self.model)
        if device.type == "cpu" and self.two:
            stem = self.model.s1.pathway1_stem
            stem.conv = PairedFrames(stem.conv)


def slow_frames(frames: int, alpha: int) -> Tensor:
    """Return the frames of the slow pathway, spread as PySlowFast trains it."""
    return torch.linspace(0, frames - 1, frames // alpha).long()


def _built(config: NetworkConfig) -> nn.Module:
    provide_roi_align()
    from slowfast.config.defaults import get_cfg
    from slowfast.models.video_model_builder import ResNetModel, SlowFastModel

    cfg = get_cfg()
    for name in ("RESNET", "SLOWFAST", "NONLOCAL"):
        for key, value in getattr(config, name):
            cfg[name][key] = _lists(value)
    cfg.MODEL.ARCH = _OLD_NAMES.get(config.arch, config.arch)
    cfg.MODEL.NUM_CLASSES = config.MODEL.NUM_CLASSES
    cfg.DATA.NUM_FRAMES = config.DATA.NUM_FRAMES
    cfg.DATA.CROP_SIZE = config.DATA.TRAIN_CROP_SIZE
    cfg.DATA.INPUT_CHANNEL_NUM = [3, 3] if config.arch == "slowfast" else [3]
    return SlowFastModel(cfg) if config.arch == "slowfast" else ResNetModel(cfg)


def _lists(value: Any) -> Any:
    return [_lists(v) for v in value] if isinstance(value, tuple) else value
