"""Features of clips by networks that were trained on clips: SlowFast, X3D, MViTv2 and others.

The feature is the input of the network's final projection, averaged over its remaining positions.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from affectstack.hashing import file_sha256
from extractors.contract import Clip, FloatArray, TooShortError, Window, WindowExtractor
from extractors.networks.config import NetworkConfig, read_config
from extractors.networks.names import feature_names
from extractors.networks.zoo import zoo_config
from extractors.reading import frames_of
from extractors.registry import EXTRACTORS
from extractors.video import DECODER, Resize, grid_frames
from extractors.weights import RANDOM, Card, Weights, card, resolve
from extractors.windows import Centred, Places, Shape, Sliding, Spread, cut

if TYPE_CHECKING:
    from extractors.networks.running import Runner

_SHORT_SIDE = 256 / 224  # of the picture, to the side of the crop: what the networks are tested with


class ClipNetwork(WindowExtractor):
    """A network on windows of a clip.

    A window that reaches over an end of the clip repeats its first or last frame, and is valid if at least
    `min_fill` of it is real.

    Args:
        weights: A `.pyth` or `.safetensors` file, or "random"; None names the file that is missing. The
            features of several files, as of the folds of a training, are averaged.
        config: The configuration that one's own network was trained with, a file of PySlowFast.
        windows: "sliding": every window of `stride` that fits, and one of a shorter clip; "per-frame": one
            around every `stride`th frame; "segments": one in each of `segments` equal parts; "clip": one.
        at: Where windows of "clip" and "segments" lie in their part: "centre" or "start".
        segments: How many parts.
        fps: Frames per second that `sampling_rate` and `stride` count; None: as the network was trained.
        sampling_rate: Take every so many frames; None: as the network was trained.
        stride: Frames from one window to the next; None: half a window, or 1 of "per-frame".
        short_side: Pixels of the shorter side after resizing; None: 256 for a crop of 224.
        crop: Pixels of the centre crop, at most `short_side`; None: as the network was trained.
        resize: "short" keeps the picture's proportions, "square" squeezes it to the crop.
        interpolation: How pixels are resized.
        triplet: 0, or how many frames the three grey channels of a frame are spread over (2.5D): 9 takes a
            frame and those 3 and 6 after it.
        min_fill: The share of a padded window that must be real for it to be valid.
        seed: Of random weights.
        trained_on: Subjects of this manifest that the weights have seen.
    """

    modality = "video"
    network: ClassVar[str]

    def __init__(
        self,
        weights: str | Sequence[str] | None = None,
        config: Path | None = None,
        windows: Literal["sliding", "clip", "per-frame", "segments"] = "sliding",
        at: Literal["centre", "start"] = "centre",
        segments: int = 4,
        fps: float | None = None,
        sampling_rate: int | None = None,
        stride: int | None = None,
        short_side: int | None = None,
        crop: int | None = None,
        resize: Literal["short", "square"] = "short",
        interpolation: Literal["bilinear", "area", "bicubic"] = "bilinear",
        triplet: int = 0,
        min_fill: float = 0.5,
        seed: int = 0,
        trained_on: Sequence[str] = (),
    ) -> None:
        self.weights = weights
        self.config = config
        self._settings = zoo_config(self.network) if config is None else self._own(config)
        data = self._settings.DATA
        self.fps = data.TARGET_FPS if fps is None else fps
        self.sampling_rate = data.SAMPLING_RATE if sampling_rate is None else sampling_rate
        self.frames = data.NUM_FRAMES
        usual = 1 if windows == "per-frame" else max(1, self.frames * self.sampling_rate // 2)
        self.stride = usual if stride is None else stride
        self.crop = data.TRAIN_CROP_SIZE if crop is None else crop
        usual = self.crop if resize == "square" else round(self.crop * _SHORT_SIDE)
        self.short_side = usual if short_side is None else short_side
        self.mode, self.at, self.segments = windows, at, segments
        self.resize, self.interpolation, self.triplet = resize, interpolation, triplet
        self.min_fill = min_fill
        self.seed = seed
        self.trained_on = frozenset(trained_on)
        self._check()
        # What the time grid must hit: frames of windows, beginnings of windows, channels of frames.
        self._unit = math.gcd(self.sampling_rate, self.stride, triplet // 3)
        self.shape = Shape(self.frames, self.sampling_rate // self._unit, triplet // 3 // self._unit)
        fixed = {"clip": 1, "segments": segments}
        self.rows_per_second = 0.0 if windows in fixed else self.fps / self.stride
        self._runners: list[Runner] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind when sent to another process."""
        return {**self.__dict__, "_runners": []}

    @property
    def untrained(self) -> bool:  # type: ignore[override]  # decided by the weights
        """True for random weights."""
        return any(weights.random for weights in self._resolved())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`slow0` …, `fast0` … of SlowFast; `x3d0` …, `mvit0` … and so on of the others."""
        return feature_names(self._settings)

    @property
    def step(self) -> float:
        """Seconds between two times of the grid."""
        return self._unit / self.fps

    def identity(self) -> dict[str, Any]:
        """Weights, configuration, time grid, picture geometry, decoder and precision."""
        data = self._settings.DATA
        own = {} if self.config is None else {"config_sha256": file_sha256(self.config)}
        placed: dict[str, Any] = {"at": self.at} if self.mode in ("clip", "segments") else {}
        placed |= {"segments": self.segments} if self.mode == "segments" else {}
        placed |= {"stride_seconds": self.stride / self.fps} if self.mode in ("sliding", "per-frame") else {}
        return {
            **_joined([weights.identity() for weights in self._resolved()]),
            **own,
            **({"seed": self.seed} if self.untrained else {}),
            "windows": self.mode,
            **placed,
            "fps": self.fps,
            "frames": self.frames,
            "sampling_rate": self.sampling_rate,
            "window_seconds": self.shape.span * self.step,
            "centre_seconds": self.shape.span * self.step / 2,
            "resize": self.resize,
            "interpolation": self.interpolation,
            "short_side": self.short_side,
            "crop": self.crop,
            "triplet": self.triplet,
            "min_fill": self.min_fill,
            "mean": list(data.MEAN),
            "std": list(data.STD),
            "colour": "bgr" if data.REVERSE_INPUT_CHANNEL else "rgb",
            "decoder": DECODER,
            "precision": self.precision,
        }

    def windows(self, clip: Clip) -> Iterator[Window]:
        """Yield `[T, crop, crop, 3]` uint8 windows."""
        places = self._places(clip)
        frames = frames_of(clip, self.step, Resize(self.short_side, self.resize, self.interpolation))
        first = next(frames, None)
        if first is None:
            raise TooShortError(f"no frame lies between {clip.start or 0:g} s and {clip.end or 0:g} s")
        cropped = (f.changed(self._centre(f.image)) for f in chain([first], frames))
        for piece in cut(cropped, self.shape, places):
            start = first.time + piece.start * self.step
            valid = piece.real == self.frames or piece.real / self.frames >= self.min_fill
            yield Window(piece.pictures, start, start + self.shape.span * self.step, valid)

    @property
    def allows_bf16(self) -> bool:
        """As the card of the weights says."""
        return self._card.allows_bf16

    def windows_in(self, seconds: float | None) -> int:
        """Return how many windows a clip of some length has."""
        if self.mode in ("clip", "segments"):
            return 1 if self.mode == "clip" else self.segments
        if self.mode == "per-frame":
            return max(1, math.ceil((seconds or 0.0) * self.fps / self.stride))
        whole = 0.0 if seconds is None else (seconds - self.shape.span * self.step) * self.fps
        return 1 + max(0, int(whole // self.stride))

    def prepare(self) -> None:
        """Build the network and load its weights, every key of them."""
        if self._runners:
            return
        from extractors.networks.loading import build
        from extractors.networks.running import Runner

        name = self.network if self.config is None else ""
        for weights in self._resolved():
            body = build(self._settings, weights, self.seed, name=name)
            self._runners.append(Runner(body, self._settings, self.crop, self.precision, self._card))
        self.look_ahead = self._runners[0].batch

    def speed_up(self, windows: int) -> str:
        """Compile the network for the CPU if so many windows pay for that."""
        self.prepare()
        return next(filter(None, [runner.compile_for(windows) for runner in self._runners]), "")

    def batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Yield as many as the device takes at once."""
        return (
            list(range(first, min(first + self.look_ahead, len(windows))))
            for first in range(0, len(windows), self.look_ahead)
        )

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return one `[1, D]` row per window."""
        self.prepare()
        pixels = np.stack([w.data for w in windows])
        rows = np.stack([runner(pixels) for runner in self._runners])
        return [row[None] for row in rows.mean(axis=0, dtype=np.float64).astype(np.float32)]

    def gflop_per_window(self) -> float:
        """Return how many 10^9 operations a window takes, a multiplication with its addition being two."""
        networks = len(self._resolved())
        if self.config is None and self.crop == self._card.size:
            return networks * self._card.gflop
        from extractors.networks.counting import gflop

        return networks * gflop(self._settings, self.crop)

    @property
    def _card(self) -> Card:
        return card(self.network)

    def _resolved(self) -> list[Weights]:
        named = [self.weights] if isinstance(self.weights, str) or self.weights is None else self.weights
        return [resolve(spec, self._card) for spec in named]

    def _own(self, path: Path) -> NetworkConfig:
        settings, usual = read_config(path), zoo_config(self.network)
        if settings.arch != usual.arch:
            raise AffectstackError(
                f"{self.network}: {path} is a configuration of {settings.arch}, not of {usual.arch}; "
                "name an extractor of that kind"
            )
        return settings

    def _check(self) -> None:
        name, whole = self.network, self._settings
        several = None if self.weights is None or isinstance(self.weights, str) else list(self.weights)
        if several is not None and (not several or RANDOM in several or len(set(several)) < len(several)):
            raise AffectstackError(f"{name}: weights {several}; expected a file, or different files")
        if self.fps <= 0 or self.sampling_rate < 1 or self.stride < 1 or self.segments < 1:
            raise AffectstackError(
                f"{name}: fps {self.fps:g}, sampling_rate {self.sampling_rate}, stride {self.stride}, "
                f"segments {self.segments}; expected positive numbers"
            )
        largest = self.crop if self.resize == "square" else self.short_side
        if not 32 <= self.crop <= largest or self.short_side > 2048:
            raise AffectstackError(
                f"{name}: crop {self.crop}; expected 32 to short_side ({self.short_side}) pixels"
            )
        if whole.arch == "mvit" and whole.MVIT.USE_ABS_POS and self.crop != whole.DATA.TRAIN_CROP_SIZE:
            raise AffectstackError(
                f"{name}: crop {self.crop}; its positions are those of {whole.DATA.TRAIN_CROP_SIZE} pixels"
            )
        if self.triplet % 3 or self.triplet < 0:
            raise AffectstackError(f"{name}: triplet {self.triplet}; expected 0 or a multiple of 3")

    def _places(self, clip: Clip) -> Places:
        stride = self.stride // self._unit
        if self.mode == "sliding":
            return Sliding(self.shape, stride)
        if self.mode == "per-frame":
            return Centred(self.shape, stride)
        total = grid_frames(clip.need_video(), self.step, start=clip.start, end=clip.end)
        return Spread(self.shape, 1 if self.mode == "clip" else self.segments, self.at, total)

    def _centre(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        top = (image.shape[0] - self.crop) // 2
        left = (image.shape[1] - self.crop) // 2
        picture = image[top : top + self.crop, left : left + self.crop]
        return picture[:, :, ::-1] if self._settings.DATA.REVERSE_INPUT_CHANNEL else picture


def _joined(identities: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return what identifies several weights: one by its own values, more by lists of them."""
    if len(identities) == 1:
        return dict(identities[0])
    return {key: [identity[key] for identity in identities] for key in identities[0]}


@EXTRACTORS.register("slowfast_4x16_r50")
class SlowFast4x16R50(ClipNetwork):
    """SlowFast R50, 32 frames, 4 of them for the slow pathway (Feichtenhofer et al. 2019)."""

    network = "slowfast_4x16_r50"


@EXTRACTORS.register("slowfast_8x8_r50")
class SlowFast8x8R50(ClipNetwork):
    """SlowFast R50, 32 frames, 8 of them for the slow pathway."""

    network = "slowfast_8x8_r50"


@EXTRACTORS.register("slowfast_16x8_r101")
class SlowFast16x8R101(ClipNetwork):
    """SlowFast R101, 64 frames, 16 of them for the slow pathway."""

    network = "slowfast_16x8_r101"


@EXTRACTORS.register("slow_8x8_r50")
class Slow8x8R50(ClipNetwork):
    """The slow pathway alone, 8 frames."""

    network = "slow_8x8_r50"


@EXTRACTORS.register("i3d_r50")
class I3DR50(ClipNetwork):
    """An inflated ResNet-50, 8 frames (Carreira and Zisserman 2017)."""

    network = "i3d_r50"


@EXTRACTORS.register("x3d_xs")
class X3DXS(ClipNetwork):
    """X3D-XS, 4 frames of 160 pixels (Feichtenhofer 2020)."""

    network = "x3d_xs"


@EXTRACTORS.register("x3d_s")
class X3DS(ClipNetwork):
    """X3D-S, 13 frames of 160 pixels."""

    network = "x3d_s"


@EXTRACTORS.register("x3d_m")
class X3DM(ClipNetwork):
    """X3D-M, 16 frames of 224 pixels."""

    network = "x3d_m"


@EXTRACTORS.register("x3d_l")
class X3DL(ClipNetwork):
    """X3D-L, 16 frames of 312 pixels."""

    network = "x3d_l"


@EXTRACTORS.register("mvit_v2_s")
class MViTv2S(ClipNetwork):
    """MViTv2-S, 16 frames (Li et al. 2022)."""

    network = "mvit_v2_s"


@EXTRACTORS.register("mvit_v2_b")
class MViTv2B(ClipNetwork):
    """MViTv2-B, 32 frames."""

    network = "mvit_v2_b"
