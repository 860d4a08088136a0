"""What a stranger's file holds, and which pieces of it are looked at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from affectstack import AffectstackError
from extractors.contract import Clip, Extractor, Features, MissingMediaError
from extractors.media import open_media, origin, picture_streams

LONG = 10.0  # seconds; shorter recordings are looked at as a whole
MOST_WINDOWS = 10_000
SHORTEST = 0.1  # seconds of a window or a hop
_REST = 0.05  # of a window; less at the end is not worth one

Span = tuple[float | None, float | None]  # start and end in seconds; None is that of the file


class PredictError(AffectstackError):
    """A recording, or an experiment, from which nothing can be predicted."""


@dataclass(frozen=True)
class Recording:
    """A file of the user's.

    Attributes:
        path: Where it is, absolute.
        seconds: How long it is.
        sound: True if it has a sound stream.
        picture: True if it has a video stream.
    """

    path: Path
    seconds: float
    sound: bool
    picture: bool

    def clip(self, span: Span) -> Clip:
        """Return a piece of it as extractors take it."""
        video, audio = (self.path, None) if self.picture else (None, self.path)
        return Clip("recording", video, audio, *span)


@dataclass(frozen=True)
class Cutting:
    """How recordings are cut into windows.

    Attributes:
        usual: The median length of the corpus' clips, in seconds: what heads know.
        window: Seconds of a window; None: the usual length, and short recordings are not cut.
        hop: Seconds from one window to the next; None: half a window.

    Raises:
        PredictError: If a window or a hop is too short to be of use.
    """

    usual: float
    window: float | None = None
    hop: float | None = None

    def __post_init__(self) -> None:
        for name in ("window", "hop"):
            if (value := getattr(self, name)) is not None and not SHORTEST <= value < float("inf"):
                raise PredictError(f"{name} of {value:g} s; expected at least {SHORTEST:g} s")

    @property
    def length(self) -> float:
        """Seconds of a window of a recording that is cut."""
        return self.window or self.usual

    @property
    def step(self) -> float:
        """Seconds from one to the next."""
        return self.hop or max(self.length / 2, SHORTEST)

    def unseen(self, spans: Sequence[Span], seconds: float) -> float:
        """Return the share of a recording outside its windows, in whole thousandths: ends are rounded."""
        seen, reached = 0.0, 0.0
        for start, end in spans:
            first, last = start or 0.0, seconds if end is None else end
            seen += max(0.0, last - max(first, reached))
            reached = max(reached, last)
        return round(max(0.0, 1 - seen / seconds), 3) if seconds else 0.0

    def spans(self, seconds: float) -> list[Span]:
        """Return the windows of a recording of some length: the whole, or pieces that cover it.

        Raises:
            PredictError: If there are too many.
        """
        chosen = self.window is not None or self.hop is not None
        window, hop = self.length, self.step
        if seconds <= window or (not chosen and seconds <= max(LONG, 2 * self.usual)):
            return [(None, None)]
        count = int((seconds - window) / hop + 1e-6) + 1
        if count > MOST_WINDOWS:
            raise PredictError(
                f"{seconds:.0f} s in steps of {hop:g} s are {count} windows; at most {MOST_WINDOWS} are "
                "looked at: choose a larger --hop"
            )
        starts = [hop * i for i in range(count)]
        if seconds - (starts[-1] + window) > _REST * window:
            starts.append(seconds - window)
        return [(round(start, 3), round(start + window, 3)) for start in starts]


class Look(Extractor):
    """Looks at a file's header: `[1, 3]` seconds, sound, picture. Runs where media are decoded."""

    modality = "video"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What `recording_of` reads."""
        return ("seconds", "sound", "picture")

    def identity(self) -> dict[str, Any]:
        """Nothing is stored."""
        return {}

    def extract(self, clip: Clip) -> Features:
        """Look at the clip's file.

        Raises:
            ClipError: If it is no media of an allowed kind, or has neither sound nor picture.
        """
        path = clip.need_sound()
        with open_media(path) as container:
            sound = bool(container.streams.audio)
            picture = bool(picture_streams(container))
            if not sound and not picture:
                raise MissingMediaError(f"{path.name}: neither sound nor picture")
            seconds = container.duration / av.time_base if container.duration else _last(container)
        row = np.array([[seconds, sound, picture]], np.float32)
        return Features(row, np.array([[0.0, seconds]]), np.ones(1, np.bool_))


def recording_of(path: Path, looked: Features) -> Recording:
    """Return what `Look` found in a file."""
    _, sound, picture = looked.values[0].tolist()
    return Recording(path, float(looked.intervals[0, 1]), bool(sound), bool(picture))


def _last(container: InputContainer) -> float:
    """Return when the last packet ends, for files whose header does not say; a browser's are such."""
    return max(_ends(container), default=0.0)


def _ends(container: InputContainer) -> Iterator[float]:
    zero = origin(container)
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            yield float((packet.pts + (packet.duration or 0)) * packet.time_base) - zero
