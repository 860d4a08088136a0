"""SlowFast clip features, built by PySlowFast.

Feichtenhofer et al. 2019, arXiv 1812.03982. The feature is the input of the final projection, averaged
over its remaining positions: 2,048 values of the slow pathway and 256 of the fast one.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.contract import Clip, FloatArray, TooShortError, Window, WindowExtractor
from extractors.registry import EXTRACTORS
from extractors.roi_align import provide_roi_align
from extractors.video import DECODER, sample_frames
from extractors.weights import Weights, WeightsError, card, load_state_dict, resolve

_SLOW, _FAST = 2048, 256
_MEAN, _STD = 0.45, 0.225  # of pixels in 0..1, RGB; the same for the three colours


@EXTRACTORS.register("slowfast_8x8_r50")
class SlowFast8x8R50(WindowExtractor):
    """SlowFast 8x8 R50: 32 frames for the fast pathway, 8 of them for the slow one.

    Windows slide over the clip. A clip that is shorter than one window gives one window, filled up by
    its last frame; the window is valid if at least `min_fill` of it is real.

    Args:
        weights: A `.pyth` or `.safetensors` file, or "random"; None names the file that is missing.
        fps: Frames per second that `sampling_rate` and `stride` count.
        sampling_rate: Take every so many frames; the window lasts 32 * sampling_rate / fps seconds.
        stride: Frames from one window's start to the next; a multiple of `sampling_rate`.
        short_side: Pixels of the shorter side after resizing.
        crop: Pixels of the centre crop, at most `short_side`.
        min_fill: The share of a padded window that must be real for it to be valid.
        seed: Of random weights.
        trained_on: Subjects of this manifest that the weights have seen.
    """

    modality = "video"
    frames = 32
    alpha = 4

    def __init__(
        self,
        weights: str | None = None,
        fps: float = 30.0,
        sampling_rate: int = 2,
        stride: int = 32,
        short_side: int = 256,
        crop: int = 224,
        min_fill: float = 0.5,
        seed: int = 0,
        trained_on: Sequence[str] = (),
    ) -> None:
        if fps <= 0 or sampling_rate < 1 or stride < 1 or stride % sampling_rate:
            raise AffectstackError(
                f"slowfast: fps {fps:g}, sampling_rate {sampling_rate}, stride {stride}; expected positive "
                "numbers and a stride that is a multiple of the sampling rate"
            )
        if not 32 <= crop <= short_side:
            raise AffectstackError(f"slowfast: crop {crop}; expected 32 to short_side ({short_side}) pixels")
        self.weights = weights
        self.fps = fps
        self.sampling_rate = sampling_rate
        self.stride = stride
        self.short_side = short_side
        self.crop = crop
        self.min_fill = min_fill
        self.seed = seed
        self.trained_on = frozenset(trained_on)
        self._model: torch.nn.Module | None = None
        self._pooled: list[torch.Tensor] = []

    @property
    def untrained(self) -> bool:  # type: ignore[override]  # decided by the weights
        """True for random weights."""
        return self._resolved().random

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`slow0` … `slow2047`, `fast0` … `fast255`."""
        slow = [f"slow{i}" for i in range(_SLOW)]
        return tuple(slow + [f"fast{i}" for i in range(_FAST)])

    @property
    def step(self) -> float:
        """Seconds between two frames of the fast pathway."""
        return self.sampling_rate / self.fps

    def identity(self) -> dict[str, Any]:
        """Weights, time grid, picture geometry, decoder and precision."""
        seed = {"seed": self.seed} if self.untrained else {}
        return {
            **self._resolved().identity(),
            **seed,
            "fps": self.fps,
            "frames": self.frames,
            "sampling_rate": self.sampling_rate,
            "window_seconds": self.frames * self.step,
            "stride_seconds": self.stride / self.fps,
            "centre_seconds": self.frames * self.step / 2,
            "short_side": self.short_side,
            "crop": self.crop,
            "min_fill": self.min_fill,
            "mean": _MEAN,
            "std": _STD,
            "colour": "rgb",
            "decoder": DECODER,
            "precision": "fp32",
        }

    def windows(self, clip: Clip) -> Iterator[Window]:
        """Yield `[32, crop, crop, 3]` uint8 windows."""
        hop = self.stride // self.sampling_rate
        held: deque[NDArray[np.uint8]] = deque(maxlen=self.frames)
        begin = 0.0
        frames = sample_frames(
            clip.need_video(), self.step, short_side=self.short_side, start=clip.start, end=clip.end
        )
        for seen, frame in enumerate(frames, start=1):
            begin = frame.time if seen == 1 else begin
            held.append(self._centre(frame.image))
            if seen >= self.frames and (seen - self.frames) % hop == 0:
                yield self._window(held, begin + (seen - self.frames) * self.step)
        if not held:
            raise TooShortError(f"no frame lies between {clip.start or 0:g} s and {clip.end or 0:g} s")
        if len(held) < self.frames:
            real = len(held)
            held.extend([held[-1]] * (self.frames - real))
            yield self._window(held, begin, valid=real / self.frames >= self.min_fill)

    def prepare(self) -> None:
        """Build the network and load its weights, every key of them."""
        if self._model is None:
            self._model = _build(self.crop, self._resolved(), self.seed)
            self._model.head.projection.register_forward_pre_hook(self._keep)  # type: ignore[union-attr]
            if torch.cuda.is_available():
                self._model.cuda()

    @torch.inference_mode()
    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return one `[1, 2304]` row per window."""
        self.prepare()
        assert self._model is not None  # noqa: S101  # made by prepare
        device = next(self._model.parameters()).device
        # [N, T, H, W, 3] uint8 -> [N, 3, T, H, W] float
        pixels = torch.from_numpy(np.stack([w.data for w in windows])).to(device)
        fast = (pixels.permute(0, 4, 1, 2, 3).float().div_(255) - _MEAN) / _STD
        slow = fast[:, :, _slow_frames(self.frames, self.alpha)]
        self._model([slow, fast])
        # [N, T, H, W, 2304], the input of the projection
        features = self._pooled.pop().float().mean(dim=(1, 2, 3))
        return [row[None] for row in features.cpu().numpy()]

    def _keep(self, _module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._pooled[:] = [inputs[0]]

    def _resolved(self) -> Weights:
        return resolve(self.weights, card("slowfast_8x8_r50"))

    def _centre(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        top = (image.shape[0] - self.crop) // 2
        left = (image.shape[1] - self.crop) // 2
        return image[top : top + self.crop, left : left + self.crop]

    def _window(self, held: Sequence[NDArray[np.uint8]], start: float, valid: bool = True) -> Window:
        return Window(np.stack(held), start, start + self.frames * self.step, valid)


def _slow_frames(frames: int, alpha: int) -> torch.Tensor:
    """Return the frames of the slow pathway, spread as PySlowFast trains it."""
    return torch.linspace(0, frames - 1, frames // alpha).long()


def _build(crop: int, weights: Weights, seed: int) -> torch.nn.Module:
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
