"""What networks make of faces, frame by frame."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.contract import (
    Clip,
    DecodeError,
    Features,
    FloatArray,
    MissingMediaError,
    Window,
    WindowExtractor,
)
from extractors.faces.settings import FaceSettings
from extractors.shared import Shared
from extractors.weights import Card, Weights, card, resolve

if TYPE_CHECKING:
    from torch import nn

    from extractors.faces.detector import Detector

_ON_GPU, _ON_CPU = 64, 8  # faces at once


class FaceEmbedding(WindowExtractor):
    """One row per frame: the input of the classifier of a network that looks at faces.

    Frames without the subject's face keep their row, which is 0 and not valid; the network does not see
    them.

    Args:
        weights: A file of weights, or "random"; None names the file that is missing.
        crops: The feature of the experiment that holds the faces (`extractor: faces`).
        detect: Without `crops`: how faces are found, each time anew; nothing of them is stored. See
            `FaceSettings`.
        seed: Of random weights.
        trained_on: Subjects of this manifest that the weights have seen.
    """

    modality = "face"
    counted = ("frames", "with_face")
    network: ClassVar[str]

    def __init__(
        self,
        weights: str | None = None,
        crops: str | None = None,
        detect: FaceSettings | None = None,
        seed: int = 0,
        trained_on: Sequence[str] = (),
    ) -> None:
        if crops is not None and detect is not None:
            raise AffectstackError(
                f"{self.network}: crops and detect exclude each other; {crops!r} says how faces are found"
            )
        self.weights = weights
        self.detect = None if crops is not None else detect or FaceSettings()
        if self.detect is not None:
            self.detect.check(f"{self.network}: detect")
            self.rows_per_second = self.detect.fps
        self.reads_feature = crops
        self.reads_media = crops is None
        self.seed = seed
        self.trained_on = frozenset(trained_on)
        self._detector: Detector | None = None
        self._model: nn.Module | None = None
        self._run: Any = None
        self._compiled = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave networks behind when sent to another process."""
        return {**self.__dict__, "_detector": None, "_model": None, "_run": None, "_compiled": False}

    @property
    @abstractmethod
    def width(self) -> int:
        """D."""

    @abstractmethod
    def build(self, weights: Weights) -> "nn.Module":
        """Return the network; it takes `[N, 3, side, side]` and gives `[N, D]`."""

    @property
    def side(self) -> int:
        """Pixels of a side of what the network sees."""
        return self._card.size

    @property
    def mean(self) -> tuple[float, ...]:
        """Of pixels in 0..1, by colour, as the network was trained."""
        return (self._card.mean,) * 3

    @property
    def std(self) -> tuple[float, ...]:
        """Their standard deviation."""
        return (self._card.std,) * 3

    @property
    def untrained(self) -> bool:  # type: ignore[override]  # decided by the weights
        """True for random weights."""
        return self._resolved().random

    @property
    def allows_bf16(self) -> bool:
        """As the card of the weights says."""
        return self._card.allows_bf16

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`face0` …."""
        return tuple(f"face{i}" for i in range(self.width))

    def identity(self) -> dict[str, Any]:
        """Weights, what the network sees, precision, and how faces are found unless a feature holds them."""
        found = {} if self.detect is None else {"detect": _detection(self.detect)}
        return {
            **self._resolved().identity(),
            **({"seed": self.seed} if self.untrained else {}),
            **found,
            "side": self.side,
            "mean": list(self.mean),
            "std": list(self.std),
            "colour": self._card.colour,
            "precision": self.precision,
        }

    def windows(self, clip: Clip) -> Iterator[Window]:
        """Yield `[H, W, 3]` uint8 faces, and nothing for frames without one."""
        from extractors.faces.crops import decode

        side = None
        for start, end, picture in self._pictures(clip):
            data = decode(picture) if picture else np.empty(0, np.uint8)
            side = side or len(data)
            if picture and len(data) != side:
                raise DecodeError(f"stored pictures of {side} and of {len(data)} pixels in one clip")
            yield Window(data, start, end, valid=bool(picture))

    def prepare(self) -> None:
        """Build the network and load its weights."""
        if self._model is not None:
            return
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.build(self._resolved()).eval().requires_grad_(False)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self._model = self._run = model.to(device, dtype).to(memory_format=torch.channels_last)
        self.look_ahead = _ON_GPU if device == "cuda" else _ON_CPU

    def speed_up(self, windows: int) -> str:
        """Compile the network if it runs on the CPU and so many faces pay for it; say what was done."""
        from extractors.compiling import compiled, pays

        self.prepare()
        on_cpu = self.look_ahead == _ON_CPU
        if self._compiled or not on_cpu or not pays(windows * self._card.compiling_saves):
            return ""
        self._compiled = True
        face = np.zeros((self.side, self.side, 3), np.uint8)
        self._run, note = compiled(self._model, lambda network: self._seen_by(network, [face]), windows)
        return note

    def batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Yield as many as the device takes at once."""
        count = self.look_ahead
        return (list(range(i, min(i + count, len(windows)))) for i in range(0, len(windows), count))

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return one `[1, D]` row per window, 0 where there is no face."""
        self.prepare()
        rows = np.zeros((len(windows), self.width), np.float32)
        real = [i for i, window in enumerate(windows) if window.valid]
        if real:
            rows[real] = self._seen_by(self._run, [windows[i].data for i in real])
        return [row[None] for row in rows]

    def gflop_per_window(self) -> float:
        """As the card of the weights says."""
        return self._card.gflop

    def windows_in(self, seconds: float | None) -> int:
        """Return about how many frames a clip of some length has."""
        return max(1, round((seconds or 0.0) * self.rows_per_second))

    def tally(self, features: Features) -> dict[str, int]:
        """Count frames, and those with the subject's face."""
        return {"frames": len(features.valid), "with_face": int(features.valid.sum())}

    def _seen_by(self, network: Any, faces: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return what a network, compiled or not, makes of faces."""
        import torch

        assert self._model is not None  # noqa: S101  # made by prepare
        own = next(self._model.parameters())
        # A compiled network is compiled for batches of one size; what is lacking is made up with zeros.
        lacking = max(0, self.look_ahead - len(faces)) if network is not self._model else 0
        scale = 1 / (255 * torch.tensor(self.std, device=own.device))
        shift = -torch.tensor(self.mean, device=own.device) / torch.tensor(self.std, device=own.device)
        with torch.no_grad():  # what compiling with frozen weights wants
            stacked = np.stack([*faces, *[np.zeros_like(faces[0])] * lacking])
            pixels = torch.from_numpy(stacked).to(own.device)
            channels = pixels.flip(-1) if self._card.colour == "bgr" else pixels
            seen = channels.float().permute(
                0, 3, 1, 2
            )  # channels last in memory, which is how the pixels lie
            if seen.shape[2] != self.side:
                size = (self.side, self.side)
                seen = torch.nn.functional.interpolate(seen, size, mode="bilinear", antialias=True)
            seen = seen.mul(scale[:, None, None]).add_(shift[:, None, None]).to(own.dtype)
            found: NDArray[np.float32] = network(seen).float().cpu().numpy()
        return found[: len(faces)]

    def _pictures(self, clip: Clip) -> Iterator[tuple[float, float, bytes]]:
        """Yield when each frame begins and ends, and the face in it as a JPEG file, or nothing."""
        if self.detect is not None:
            from extractors.faces.detector import Detector
            from extractors.faces.finding import find_faces

            settings, detector = self.detect, self._detector or Detector(self.detect.confidence)
            self._detector = detector
            shared = clip.shared or Shared()
            rows = shared.once(("faces", settings), lambda: find_faces(clip, detector, settings))
            for row in rows:
                yield row.time, row.time + 1 / settings.fps, row.picture
            return
        if clip.stored is None:
            raise MissingMediaError(
                f"feature {self.reads_feature!r} does not hold this clip; see its failures.csv"
            )
        pictures = clip.stored.pictures or [b""] * len(clip.stored.values)
        for (start, end), picture in zip(clip.stored.intervals.tolist(), pictures, strict=True):
            yield start, end, picture

    @property
    def _card(self) -> Card:
        return card(self.network)

    def _resolved(self) -> Weights:
        return resolve(self.weights, self._card)


def _detection(settings: FaceSettings) -> dict[str, Any]:
    from extractors.faces.detector import detector_sha256

    return {"detector": "mtcnn", "detector_sha256": detector_sha256(), **settings.identity()}
