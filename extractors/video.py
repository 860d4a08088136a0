"""Video files as frames on a time grid."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from extractors.audit import Stated
from extractors.contract import DecodeError, LimitExceededError, MissingMediaError
from extractors.media import open_media, origin, picture_streams, refuse_cut_stream, stated, stated_end

DECODER = f"pyav-{av.__version__}"
MAX_PIXELS = 8192 * 4608  # of one frame; 8K film has 8192 x 4320
_TOLERANCE = 1e-6
_INDEXED = ("mov", "matroska")
_LONGEST_GAP = 600.0  # seconds; more is a damaged time stamp, which would ask for frames without end


class Decoded(NamedTuple):
    """A frame as it comes from the decoder.

    Attributes:
        frame: Itself.
        time: When it is shown, in seconds on the container's clock.
        length: How long it is shown, in seconds.
        repeats: Whether its picture is that of the frame before.
        stated: What the file says about itself.
    """

    frame: av.VideoFrame
    time: float
    length: float
    repeats: bool
    stated: Stated


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        time: The grid time it stands for, in seconds on the container's clock.
        image: `[H, W, 3]` uint8, RGB, upright.
    """

    time: float
    image: NDArray[np.uint8]

    def changed(self, image: NDArray[np.uint8]) -> "Frame":
        """Return the frame with another picture."""
        return replace(self, image=image)


@dataclass(frozen=True)
class Shown:
    """A frame that a player would show at a time of the grid, its picture not made yet.

    Attributes:
        time: The grid time, in seconds on the container's clock.
        frame: As it was decoded.
    """

    time: float
    frame: av.VideoFrame

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, upright."""
        turned = round(self.frame.rotation / 90) % 2
        width, height = self.frame.width, self.frame.height
        return (height, width) if turned else (width, height)

    def picture(self, resize: "Resize | None" = None) -> NDArray[np.uint8]:
        """Return `[H, W, 3]` uint8, RGB, upright."""
        return _rgb(self.frame, resize)


@dataclass(frozen=True)
class Resize:
    """How pictures are resized.

    Attributes:
        side: Pixels of the shorter side, or of both.
        how: "short" keeps the proportions, "square" does not.
        interpolation: Of the pixels.
    """

    side: int
    how: Literal["short", "square"] = "short"
    interpolation: Literal["bilinear", "area", "bicubic"] = "bilinear"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the new width and height."""
        if self.how == "square":
            return self.side, self.side
        scale = self.side / min(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))


def sample_frames(
    path: Path,
    step: float,
    *,
    resize: Resize | None = None,
    start: float | None = None,
    end: float | None = None,
    frames: Iterator[Decoded] | None = None,
) -> Iterator[Frame]:
    """Decode the pictures that a player would show at regular times; see `shown_frames`.

    Args:
        path: The file.
        step: Seconds between two grid times.
        resize: How; None keeps the size.
        start: Where to begin, in seconds; None is the first frame.
        end: Where to stop, in seconds; None is the end of the video.
        frames: What `decode` gives for this path and `start`, where it is decoded already.
    """
    for shown in shown_frames(path, step, start=start, end=end, frames=frames):
        yield Frame(shown.time, shown.picture(resize))


def shown_frames(
    path: Path,
    step: float,
    *,
    start: float | None = None,
    end: float | None = None,
    frames: Iterator[Decoded] | None = None,
) -> Iterator[Shown]:
    """Decode the frames that a player would show at regular times.

    The grid begins at `start` (or at the first frame) and goes on in steps until the last frame ends,
    so variable frame rates and time stamps that begin late come out at their true times. Only frames
    on the grid are converted to RGB.

    Args:
        path: The file.
        step: Seconds between two grid times.
        start: Where to begin, in seconds; None is the first frame.
        end: Where to stop, in seconds; None is the end of the video.
        frames: What `decode` gives for this path and `start`, where it is decoded already.

    Raises:
        MissingMediaError: If the file has no video stream.
        DecodeError: If it cannot be decoded, has no frames, or was cut short.
        LimitExceededError: If a frame is larger than any film.
    """
    shown: av.VideoFrame | None = None
    grid = 0
    begin, ends = 0.0, 0.0
    for frame, time, length, *_ in frames or decode(path, start):
        if shown is None:
            begin = time if start is None else max(start, 0.0)
            if start is not None and time > begin:
                shown = frame
        while shown is not None and (at := begin + grid * step) < time - _TOLERANCE:
            if end is not None and at >= end - _TOLERANCE:
                return
            yield Shown(at, shown)
            grid += 1
        shown, ends = frame, time + length
    if shown is None:
        raise DecodeError(f"{path.name}: no frame could be decoded")
    stop = ends if end is None else min(end, ends)
    while (at := begin + grid * step) < stop - _TOLERANCE:
        yield Shown(at, shown)
        grid += 1


def grid_frames(path: Path, step: float, *, start: float | None = None, end: float | None = None) -> int:
    """Return how many frames `sample_frames` gives, without decoding pictures where time stamps tell.

    Raises:
        ClipError: See `sample_frames`.
    """
    first, last = _span(path)
    begin = first if start is None else max(start, 0.0)
    stop = last if end is None else min(end, last)
    return max(0, math.ceil((stop - begin - _TOLERANCE) / step))


def _span(path: Path) -> tuple[float, float]:
    """Return when the first frame is shown, and until when the last one is, in seconds."""
    with open_media(path) as container:
        stream = _pictures(path, container)
        base, zero = float(stream.time_base or 0), origin(container)
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        told = container.format.name.split(",")[0] in _INDEXED  # others' time stamps are FFmpeg's guesses
        if told and packets and all(p.pts is not None and p.duration for p in packets):
            shown = [_shown(p, base, zero) for p in packets]
            return min(begin for begin, _ in shown), max(end for _, end in shown)
    times = [(d.time, d.time + d.length) for d in decode(path)]
    if not times:
        raise DecodeError(f"{path.name}: no frame could be decoded")
    return times[0][0], times[-1][1]


def _shown(packet: Packet, base: float, zero: float) -> tuple[float, float]:
    begin = (packet.pts or 0) * base - zero
    return begin, begin + (packet.duration or 0) * base


def decode(path: Path, start: float | None = None) -> Iterator[Decoded]:
    """Yield each frame with its time and how long it is shown, both in seconds.

    With a `start`, frames long before it may be left out, but never the one that is shown then.
    """
    if start:
        with open_media(path) as container:
            # Without an index FFmpeg lands near the time that was asked for, and may number frames anew.
            if container.format.name.split(",")[0] in _INDEXED:
                container.seek(round(start * av.time_base) + (container.start_time or 0), backward=True)
                frames = _decoded(path, container)
                first = next(frames, None)
                # It may land behind that time all the same; then the file is decoded from its beginning.
                if first is not None and first.time <= start + _TOLERANCE:
                    yield first
                    yield from frames
                    return
    with open_media(path) as container:
        yield from _decoded(path, container)


def _decoded(path: Path, container: InputContainer) -> Iterator[Decoded]:
    stream = _pictures(path, container)
    if stream.codec_context is None:
        raise DecodeError(f"{path.name}: its video is of a kind that FFmpeg cannot decode")
    _refuse_huge(path, stream.codec_context.width, stream.codec_context.height)
    stream.thread_type = "AUTO"
    zero = origin(container)
    rate = stream.average_rate or stream.guessed_rate
    usual = float(1 / rate) if rate else 0.04
    says = stated(container)
    repeats = _Repeats()
    time, last = None, 0.0
    for frame in container.decode(stream):
        _refuse_huge(path, frame.width, frame.height)
        before = time
        guess = 0.0 if before is None else before + usual
        time = guess if frame.time is None else frame.time - zero
        last = max(last, time)  # those of joined files go back
        if before is not None and time - before > _LONGEST_GAP:
            raise DecodeError(f"{path.name}: a gap of {time - before:.0f} s between two frames")
        length = float(frame.duration * stream.time_base) if frame.duration and stream.time_base else usual
        yield Decoded(frame, time, length, repeats(frame), says)
    if time is not None:
        refuse_cut_stream(path, "video", last + usual, stated_end(container, stream))


def _pictures(path: Path, container: InputContainer) -> VideoStream:
    streams = picture_streams(container)
    if not streams:
        raise MissingMediaError(f"{path.name}: no video stream")
    return streams[0]


class _Repeats:
    """Tells of frames, one after the other, whether each has the picture of the one before.

    A few lines tell of most that it has not, for a hundredth of the time that decoding takes. Pictures that
    cannot be compared are no repetition: nobody loses a clip because it cannot be audited.
    """

    def __init__(self) -> None:
        self._last: av.VideoFrame | None = None
        self._peeked = b""

    def __call__(self, frame: av.VideoFrame) -> bool:
        try:
            return self._repeats(frame)
        except Exception:
            self._last = None
            return False

    def _repeats(self, frame: av.VideoFrame) -> bool:
        last, peeked = self._last, self._peeked
        plane = frame.planes[0]
        lines, size, view = plane.height, abs(plane.line_size), memoryview(plane)
        width = min(plane.width, size)
        self._last = frame
        self._peeked = b"".join([view[i : i + width] for i in (lines * n // 6 * size for n in range(1, 6))])
        return last is not None and peeked == self._peeked and _same(frame, last)


def _same(frame: av.VideoFrame, other: av.VideoFrame) -> bool:
    shapes = [(f.width, f.height, f.format.name) for f in (frame, other)]
    return shapes[0] == shapes[1] and all(
        np.array_equal(_lines(frame, i), _lines(other, i)) for i in range(len(frame.planes))
    )


def _lines(frame: av.VideoFrame, number: int) -> NDArray[np.uint8]:
    """Return `[lines, bytes]` of a plane, a palette as one, without what only fills up its lines."""
    plane, parts = frame.planes[number], frame.format.components
    if plane.line_size == 0:  # a palette
        return np.frombuffer(memoryview(plane), np.uint8).reshape(1, -1)
    mixed = len(parts) if len(frame.planes) == 1 else 2 if number and len(frame.planes) == 2 else 1
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))
    return lines[:, : plane.width * mixed * -(-parts[0].bits // 8)]


def _refuse_huge(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise LimitExceededError(
            f"{path.name}: frames of {width} x {height} pixels; at most {MAX_PIXELS} in all are decoded"
        )


def _rgb(frame: av.VideoFrame, resize: Resize | None) -> NDArray[np.uint8]:
    width, height, how = frame.width, frame.height, "BILINEAR"
    if resize is not None:
        width, height = resize.size(width, height)
        how = resize.interpolation.upper()
    resized = frame.reformat(width=width, height=height, format="rgb24", interpolation=how)
    image = resized.to_ndarray().astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
