"""SlowFast clip features, built by PySlowFast.

Feichtenhofer et al. 2019, arXiv 1812.03982. The feature is the input of the final projection, averaged
over its remaining positions: 2,048 values of the slow pathway and 256 of the fast one.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.contract import Clip, FloatArray, TooShortError, Window, WindowExtractor
from extractors.reading import frames_of
from extractors.registry import EXTRACTORS
from extractors.video import DECODER
from extractors.weights import Weights, card, resolve

if TYPE_CHECKING:
    from extractors.slowfast_network import SlowFastNetwork

_SLOW, _FAST = 2048, 256


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
        self.rows_per_second = fps / stride
        self._network: SlowFastNetwork | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind when sent to another process."""
        return {**self.__dict__, "_network": None}

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
            "mean": card("slowfast_8x8_r50").mean,
            "std": card("slowfast_8x8_r50").std,
            "colour": "rgb",
            "decoder": DECODER,
            "precision": self.precision,
        }

    def windows(self, clip: Clip) -> Iterator[Window]:
        """Yield `[32, crop, crop, 3]` uint8 windows."""
        hop = self.stride // self.sampling_rate
        held: deque[NDArray[np.uint8]] = deque(maxlen=self.frames)
        begin = 0.0
        frames = frames_of(clip, self.step, self.short_side)
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

    @property
    def allows_bf16(self) -> bool:
        """As the card of the weights says."""
        return card("slowfast_8x8_r50").allows_bf16

    def windows_in(self, seconds: float | None) -> int:
        """Return how many windows a clip of some length has."""
        whole = 0.0 if seconds is None else (seconds - self.frames * self.step) * self.fps
        return 1 + max(0, int(whole // self.stride))

    def prepare(self) -> None:
        """Build the network and load its weights, every key of them."""
        if self._network is None:
            from extractors.slowfast_network import SlowFastNetwork

            self._network = SlowFastNetwork(self.crop, self._resolved(), self.seed, self.precision)
            self.look_ahead = self._network.batch

    def speed_up(self, windows: int) -> str:
        """Compile the network for the CPU if so many windows pay for that."""
        self.prepare()
        assert self._network is not None  # noqa: S101  # made by prepare
        return self._network.compile_for(windows)

    def batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Yield as many as the device takes at once."""
        return (
            list(range(first, min(first + self.look_ahead, len(windows))))
            for first in range(0, len(windows), self.look_ahead)
        )

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return one `[1, 2304]` row per window."""
        self.prepare()
        assert self._network is not None  # noqa: S101  # made by prepare
        rows = self._network(np.stack([w.data for w in windows]))
        return [row[None] for row in rows]

    def _resolved(self) -> Weights:
        return resolve(self.weights, card("slowfast_8x8_r50"))

    def _centre(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        top = (image.shape[0] - self.crop) // 2
        left = (image.shape[1] - self.crop) // 2
        return image[top : top + self.crop, left : left + self.crop]

    def _window(self, held: Sequence[NDArray[np.uint8]], start: float, valid: bool = True) -> Window:
        return Window(np.stack(held), start, start + self.frames * self.step, valid)
