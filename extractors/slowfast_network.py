"""The SlowFast network: building it with PySlowFast, loading it, and running it fast."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from extractors.contract import FloatArray, Precision
from extractors.hardware import cpp_compiler, keep_freed_memory
from extractors.roi_align import provide_roi_align
from extractors.weights import Weights, WeightsError, card, load_state_dict

_FRAMES, _ALPHA = 32, 4

# Measured on two cores with AVX-512 and bfloat16 units at 224 x 224 pixels: compiling takes 40 s when
# nothing is cached, and a window then takes 0.02 s less of 0.36 s in bfloat16, in float32 0.06 s of 0.70 s.
_COMPILE_SECONDS, _SAVED_AT = 40.0, 224
_SAVED_SECONDS = {torch.bfloat16: 0.02, torch.float32: 0.06}
_WORTH = 2.0  # compile only if it saves twice what it costs


class SlowFastNetwork:
    """SlowFast 8x8 R50 up to the input of its projection.

    Batch normalisation is folded into the convolutions, and the axes are kept channels-last: both are the
    same function, faster.

    Args:
        crop: Pixels of a side.
        weights: What to load; random ones follow `seed`.
        seed: Of random weights.
        precision: What it computes in; pooling stays in float32.
    """

    def __init__(self, crop: int, weights: Weights, seed: int, precision: Precision) -> None:
        model = build(crop, weights, seed)
        self.pools = [
            tuple(p.kernel_size) for p in (model.head.pathway0_avgpool, model.head.pathway1_avgpool)
        ]
        fold_batch_norms(model)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu":
            keep_freed_memory()
            stem = model.s1.pathway1_stem
            stem.conv = PairedFrames(stem.conv)
        self.batch = 16 if self.device.type == "cuda" else 1  # on the CPU, larger batches were not faster
        self.crop = crop
        self.card = card("slowfast_8x8_r50")
        trunk = Trunk(model).to(self.device, self.dtype).to(memory_format=torch.channels_last_3d)
        self.trunk: Any = trunk
        self._tried = False

    def compile_for(self, windows: int) -> str:
        """Compile the network if it runs on the CPU and so many windows pay for it; say what was done."""
        saved = windows * _SAVED_SECONDS[self.dtype] * (self.crop / _SAVED_AT) ** 2
        if self._tried or self.device.type != "cpu" or saved < _WORTH * _COMPILE_SECONDS:
            return ""
        self._tried = True
        if cpp_compiler() is None:
            return "not compiled: no C++ compiler here (g++ or clang++); runs as it is, up to a tenth slower"
        plain, self.trunk = self.trunk, torch.compile(self.trunk, options={"freezing": True})
        try:
            self(np.zeros((self.batch, _FRAMES, self.crop, self.crop, 3), np.uint8))
        except Exception as error:  # a compiler that does not work, no headers of Python, a full disk
            self.trunk = plain
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
            return f"not compiled: the C++ compiler failed ({reason}); runs as it is, up to a tenth slower"
        return f"compiled the network, which pays for itself over {windows} windows"

    def __call__(self, pixels: NDArray[np.uint8]) -> FloatArray:
        """Return `[N, 2304]` features of `[N, 32, H, W, 3]` windows."""
        with torch.no_grad():  # what `freezing` wants; nothing here needs gradients
            fast = self._normalised(pixels)
            slow = fast[:, :, slow_frames(_FRAMES, _ALPHA)].contiguous(memory_format=torch.channels_last_3d)
            return self._pooled(self.trunk(slow, fast)).cpu().numpy()

    def _normalised(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Return `[N, 3, 32, H, W]`, channels last in memory, which is how the pixels lie already."""
        values = (
            torch.from_numpy(pixels)
            .to(self.device)
            .float()
            .div_(255)
            .sub_(self.card.mean)
            .div_(self.card.std)
        )
        return values.to(self.dtype).permute(0, 4, 1, 2, 3)

    def _pooled(self, pathways: Sequence[torch.Tensor]) -> torch.Tensor:
        """Pool as the network's head does, and average what positions remain.

        In float32: the pooling has no bfloat16 kernel for CPUs.
        """
        pooled = [
            nn.functional.avg_pool3d(x.float(), pool, stride=1).mean(dim=(2, 3, 4))
            for x, pool in zip(pathways, self.pools, strict=True)
        ]
        return torch.cat(pooled, dim=1)


class Trunk(nn.Module):
    """A SlowFast model without its head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.stages = nn.ModuleList([model.s1, model.s1_fuse, model.s2, model.s2_fuse])
        self.pools = nn.ModuleList([model.pathway0_pool, model.pathway1_pool])
        self.later = nn.ModuleList([model.s3, model.s3_fuse, model.s4, model.s4_fuse, model.s5])

    def forward(self, slow: torch.Tensor, fast: torch.Tensor) -> list[torch.Tensor]:
        """Return both pathways before pooling, `[N, C, T, H, W]`."""
        x = [slow, fast]
        for stage in self.stages:
            x = stage(x)
        x = [pool(y) for pool, y in zip(self.pools, x, strict=True)]
        for stage in self.later:
            x = stage(x)
        return x


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


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every 3-D batch normalisation into the convolution that is registered just before it."""
    before: tuple[str, nn.Conv3d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm3d) and before is not None:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        fold_batch_norms(child)
        before = (name, child) if isinstance(child, nn.Conv3d) else None


def slow_frames(frames: int, alpha: int) -> torch.Tensor:
    """Return the frames of the slow pathway, spread as PySlowFast trains it."""
    return torch.linspace(0, frames - 1, frames // alpha).long()


def build(crop: int, weights: Weights, seed: int) -> Any:
    """Return PySlowFast's own model, in float32 and for inference.

    Raises:
        WeightsError: If the weights do not fit.
    """
    provide_roi_align()
    from slowfast.config.defaults import get_cfg
    from slowfast.models.video_model_builder import SlowFastModel

    cfg = get_cfg()
    cfg.merge_from_list(_config(crop))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SlowFastModel(cfg)
    if weights.path is not None:
        _load_strictly(model, weights)
    return model.eval().requires_grad_(False)


def _config(crop: int) -> list[Any]:
    """Return the model part of the zoo's SLOWFAST_8x8_R50 configuration."""
    return [
        "MODEL.ARCH", "slowfast", "MODEL.NUM_CLASSES", 400, "MODEL.DROPOUT_RATE", 0.5,
        "DATA.NUM_FRAMES", 32, "DATA.CROP_SIZE", crop, "DATA.INPUT_CHANNEL_NUM", [3, 3],
        "SLOWFAST.ALPHA", 4, "SLOWFAST.BETA_INV", 8,
        "SLOWFAST.FUSION_CONV_CHANNEL_RATIO", 2, "SLOWFAST.FUSION_KERNEL_SZ", 7,
        "RESNET.DEPTH", 50, "RESNET.ZERO_INIT_FINAL_BN", True, "RESNET.WIDTH_PER_GROUP", 64,
        "RESNET.NUM_GROUPS", 1, "RESNET.TRANS_FUNC", "bottleneck_transform", "RESNET.STRIDE_1X1", False,
        "RESNET.NUM_BLOCK_TEMP_KERNEL", [[3, 3], [4, 4], [6, 6], [3, 3]],
        "RESNET.SPATIAL_STRIDES", [[1, 1], [2, 2], [2, 2], [2, 2]],
        "RESNET.SPATIAL_DILATIONS", [[1, 1], [1, 1], [1, 1], [1, 1]],
        "NONLOCAL.LOCATION", [[[], []], [[], []], [[], []], [[], []]],
        "NONLOCAL.GROUP", [[1, 1], [1, 1], [1, 1], [1, 1]],
    ]  # fmt: skip


def _load_strictly(model: torch.nn.Module, weights: Weights) -> None:
    assert weights.path is not None  # noqa: S101  # asked by the caller
    state = load_state_dict(weights.path)
    own = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    missing = [k for k in own if k not in state]
    extra = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and tuple(state[k].shape) != own[k]]
    if missing or extra or shapes:
        raise WeightsError(
            f"{weights.path}: does not fit slowfast_8x8_r50: {_few('missing', missing)}; "
            f"{_few('unknown', extra)}; {_few('of another shape', shapes)}"
        )
    model.load_state_dict(state, strict=True)


def _few(what: str, keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
    return f"{len(keys)} {what}" + (f" ({shown})" if keys else "")
