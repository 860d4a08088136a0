"""What an extractor takes and gives. The engine owns files, workers, batching and stores."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.audit import Audit
from extractors.shared import Shared

Precision = Literal["fp32", "bf16"]
FloatArray = NDArray[np.float32]


class ClipError(AffectstackError):
    """One clip cannot be extracted; the run goes on. The class name becomes the failure's type."""


class DecodeError(ClipError):
    """The file is no media, is damaged, or stops early."""


class MissingMediaError(ClipError):
    """The clip has no file, stream or table row of the kind the extractor needs."""


class TooShortError(ClipError):
    """The clip is too short for the extractor to give one row."""


class LimitExceededError(ClipError):
    """The clip would take more time, memory or disk than one clip may."""


class BadFeaturesError(ClipError):
    """An extractor gave NaN, the wrong shape or the wrong type."""


@dataclass(frozen=True)
class Clip:
    """One take, seen by one camera, as an extractor gets it.

    Attributes:
        clip_id: Its id, unique together with `view`.
        video: Absolute path of the video file, or None.
        audio: Absolute path of the sound file, or None: the sound of `video`.
        start: Where the clip begins in its file, in seconds; None is the beginning.
        end: Where it ends, in seconds; None is the end.
        view: The camera, or "".
        shared: The media of this clip, where several extractors read it at once.
        stored: What another feature holds of this clip, where the extractor reads that; see `reads_feature`.
        audit: Takes notes of what the extractor decodes; None: nobody wants them.
    """

    clip_id: str
    video: Path | None = None
    audio: Path | None = None
    start: float | None = None
    end: float | None = None
    view: str = ""
    shared: Shared | None = field(default=None, compare=False, repr=False)
    stored: "Features | None" = field(default=None, compare=False, repr=False)
    audit: Audit | None = field(default=None, compare=False, repr=False)

    @property
    def sound(self) -> Path | None:
        """The file to read sound from."""
        return self.audio or self.video

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which foreign tables may know this clip."""
        stems = [p.stem for p in (self.video, self.audio) if p is not None]
        return tuple(dict.fromkeys([self.clip_id, *stems]))

    def need_video(self) -> Path:
        """Return the video file.

        Raises:
            MissingMediaError: If the clip has none.
        """
        if self.video is None:
            raise MissingMediaError("the manifest names no video for this clip")
        return self.video

    def need_sound(self) -> Path:
        """Return the file to read sound from.

        Raises:
            MissingMediaError: If the clip has neither audio nor video.
        """
        if self.sound is None:
            raise MissingMediaError("the manifest names neither audio nor video for this clip")
        return self.sound

    def still_alive(self) -> None:
        """Say that work on this clip goes on, where it takes long before anything comes of it."""
        if self.shared is not None:
            self.shared.still_alive()


@dataclass(frozen=True)
class Features:
    """What an extractor found in one clip.

    Attributes:
        values: `[T, D]` float32.
        intervals: `[T, 2]` float64, `[start, end)` of each row in seconds on the media's clock.
        valid: `[T]` bool; False marks padding, frames without a face, and the like.
        silent: True if the clip has sound and all of it is digital silence.
        pictures: A picture of each row as a JPEG file, b"" where there is none; None: no row has any.
    """

    values: FloatArray
    intervals: NDArray[np.float64]
    valid: NDArray[np.bool_]
    silent: bool = False
    pictures: tuple[bytes, ...] | None = None


@dataclass(frozen=True)
class Window:
    """A prepared piece of a clip, ready for the network.

    Attributes:
        data: The input array of one sample, without a batch axis.
        start: Seconds on the media's clock.
        end: Seconds; the window covers `[start, end)`.
        valid: False where too little of the window is real content.
        silent: True if it is sound and all of it is digital silence.
    """

    data: NDArray[Any]
    start: float
    end: float
    valid: bool = True
    silent: bool = False

    def emptied(self) -> "Window":
        """Return the window without its data, which nobody needs once it was embedded."""
        return replace(self, data=np.empty(0))


class Extractor(ABC):
    """A frozen map from a clip to features. Constructors only store; `prepare` loads weights.

    Attributes:
        modality: What it reads: "video", "audio", "au", "face" or "text".
        reads_media: False if it never opens the clip's own files; then it runs where the engine runs.
        sound_rate: The rate of the sound that it asks for, in Hz; None if it reads none.
        clips_per_shard: How many clips are a minute or more of work.
        rows_per_second: How many rows it gives for a second of media; 0 if their number is fixed.
        row_bytes: About how many bytes a row takes in the store; 0: its values alone.
        counted: What `tally` counts of a clip.
        gives_pictures: True if its rows have pictures that other extractors may read.
        reads_feature: The feature of the same experiment whose pictures it reads in place of the media.
        looks_up: The file or folder that holds its values, made before for the clips of the corpus; "" if it
            computes them, and so can for any clip.
        untrained: True if its weights are random; every output says so.
        trained_on: The subjects of this manifest that its weights have seen.
        selected_on_test: True if test clips of this manifest chose among its weights.
    """

    modality: ClassVar[str]
    reads_media: bool = True
    sound_rate: int | None = None
    clips_per_shard: int = 1024
    rows_per_second: float = 0.0
    row_bytes: int = 0
    counted: tuple[str, ...] = ()
    gives_pictures: bool = False
    reads_feature: str | None = None
    looks_up: str = ""
    untrained: bool = False
    selected_on_test: bool = False
    trained_on: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """The D column names; known before the first clip."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that changes a value, as JSON. Device, batch and workers are not in it."""

    def prepare(self) -> None:  # noqa: B027  # most extractors have nothing to load
        """Load what `extract` needs; called once per process.

        Raises:
            WeightsError: If a weight is missing: what, where to get it, where to put it.
        """

    @abstractmethod
    def extract(self, clip: Clip) -> Features:
        """Extract one clip.

        Raises:
            ClipError: If this clip cannot be extracted.
        """

    def tally(self, features: Features) -> dict[str, int]:
        """Return what is worth counting of a clip, such as frames without a face, by name; see `counted`."""
        return {}

    @property
    def dim(self) -> int:
        """D, the number of columns."""
        return len(self.feature_names)


class WindowExtractor(Extractor):
    """An extractor that cuts windows in decode workers and embeds batches of them on a device.

    Attributes:
        precision: What the network computes in; decided before `prepare` and part of the identity.
        look_ahead: How many windows of a shard are collected before batches are formed of them.
    """

    clips_per_shard: int = 32
    precision: Precision = "fp32"
    look_ahead: int = 1

    @property
    def allows_bf16(self) -> bool:
        """True if bfloat16 was measured to keep the features; see the extractor's card."""
        return False

    @abstractmethod
    def windows(self, clip: Clip) -> Iterator[Window]:
        """Yield the clip's prepared windows in time order; runs in a decode worker."""

    @abstractmethod
    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return one `[t, D]` float32 array per window, whatever the batch holds besides it."""

    def batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Yield which of some windows to embed together; by itself, all of them one by one."""
        return ([i] for i in range(len(windows)))

    def speed_up(self, windows: int) -> str:
        """Do what pays for itself over so many windows, such as compiling; return a line that says so."""
        return ""

    def gflop_per_window(self) -> float:
        """Return how many 10^9 operations a window takes; 0 if nobody counted them."""
        return 0.0

    def windows_in(self, seconds: float | None) -> int:
        """Return about how many windows a clip of some length has; None is an unknown length."""
        return 1

    def intervals(self, window: Window, rows: int) -> NDArray[np.float64]:
        """Return `[rows, 2]` seconds for the rows that `embed` gave for a window: equal parts."""
        edges = np.linspace(window.start, window.end, rows + 1)
        return np.column_stack([edges[:-1], edges[1:]])

    def assemble(self, parts: Sequence[tuple[Window, FloatArray]]) -> Features:
        """Return the features of a clip from its windows, in time order, and their rows.

        Raises:
            TooShortError: If there are none.
        """
        if not parts:
            raise TooShortError("no window fits into the clip")
        return Features(
            np.concatenate([rows for _, rows in parts]),
            np.concatenate([self.intervals(window, len(rows)) for window, rows in parts]),
            np.concatenate([np.full(len(rows), window.valid) for window, rows in parts]),
            silent=all(window.silent for window, _ in parts),
        )

    def extract(self, clip: Clip) -> Features:
        """Embed the clip's windows as they come; memory does not grow with its length."""
        parts = []
        for window in self.windows(clip):
            (rows,) = self.embed([window])
            parts.append((window.emptied(), rows))
        return self.assemble(parts)


def check_features(features: Features, dim: int) -> None:
    """Check what an extractor returned before it is stored.

    Raises:
        BadFeaturesError: If shape, type or a value breaks the contract.
    """
    values, intervals, valid = features.values, features.intervals, features.valid
    if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != dim:
        raise BadFeaturesError(f"values are {values.dtype} {list(values.shape)}; expected float32 [T, {dim}]")
    rows = len(values)
    if rows == 0:
        raise TooShortError("the extractor gave no rows")
    if intervals.dtype != np.float64 or intervals.shape != (rows, 2):
        raise BadFeaturesError(
            f"intervals are {intervals.dtype} {list(intervals.shape)}; expected float64 [{rows}, 2]"
        )
    if valid.dtype != np.bool_ or valid.shape != (rows,):
        raise BadFeaturesError(f"valid is {valid.dtype} {list(valid.shape)}; expected bool [{rows}]")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise BadFeaturesError(f"value {values[row, column]} in row {row}, column {column}")
    if features.pictures is not None and len(features.pictures) != rows:
        raise BadFeaturesError(f"{len(features.pictures)} pictures; expected one per row, {rows}")
    if not np.isfinite(intervals).all() or (intervals[:, 1] < intervals[:, 0]).any():
        raise BadFeaturesError("an interval is not finite or ends before it starts")
