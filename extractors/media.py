"""Opening media files that strangers made."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from extractors.audit import Stated
from extractors.contract import DecodeError

# FFmpeg would otherwise guess the format by content, and a text file that is named clip.mp4 but
# holds a playlist would open the files it lists. Only these demuxers may answer, only local files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,h264,hevc,flv,asf,"
    "wav,flac,ogg,mp3,aac,aiff,w64,caf,amr"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}

_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")

# A stream that ends this much before the time its own header states was cut short.
_MISSING_SECONDS = 0.5
_MISSING_SHARE = 0.1

_LONGEST_NAME = 80  # letters of a name that are shown where it may be the fault


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for decoding.

    Raises:
        DecodeError: If it is absent, empty, no media of an allowed kind, or breaks while it is read.
    """
    refuse_no_file(path)
    try:
        with av.open(str(path), options=dict(_OPTIONS), metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        # FFmpeg says "invalid argument" where the content is of a format outside the list above.
        reason = "a picture, a playlist or text?" if error.errno == errno.EINVAL else error.strerror
        raise DecodeError(f"{path.name}: not media that can be decoded ({reason})") from error


def refuse_no_file(path: Path) -> None:
    """Refuse what is no file, or an empty one.

    Raises:
        DecodeError: If it is.
    """
    try:
        if path.is_dir():
            raise DecodeError(f"{path.name}: is a folder")
        if not path.is_file():
            raise DecodeError(f"{path.name}: no such file")
        if path.stat().st_size == 0:
            raise DecodeError(f"{path.name}: the file is empty")
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DecodeError:
    """Return what is said of a file that the system does not give."""
    name = path.name if len(path.name) <= _LONGEST_NAME else f"{path.name[:_LONGEST_NAME]}…"
    return DecodeError(f"{name}: cannot be read ({error.strerror or error})")


def origin(container: InputContainer) -> float:
    """Return the time stamp, in seconds, that playback shows as 0."""
    return (container.start_time or 0) / av.time_base


def stated_end(container: InputContainer, stream: Stream) -> float | None:
    """Return when a stream ends by its own header, in seconds on the container's clock; None if unsaid."""
    if stream.duration is not None and stream.time_base is not None:
        begin = stream.start_time or 0
        return float((begin + stream.duration) * stream.time_base) - origin(container)
    if match := _CLOCK.match(stream.metadata.get("DURATION", "")):  # how Matroska says it
        hours, minutes, seconds = match.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - origin(container)
    if len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base
    return None


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """Return the streams of moving pictures; the cover of an album is none."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def stated(container: InputContainer) -> Stated:
    """Return what the header of an open file says about its first picture and its first sound."""
    video = next(iter(picture_streams(container)), None)
    audio = next(iter(container.streams.audio), None)
    rate = None if video is None else video.average_rate or video.guessed_rate
    return Stated(
        first=origin(container),
        frames=(video.frames or None) if video is not None else None,
        rate=float(rate) if rate else None,
        picture=_span(container, video),
        sound=_span(container, audio),
    )


def _span(container: InputContainer, stream: Stream | None) -> tuple[float, float] | None:
    end = None if stream is None else stated_end(container, stream)
    if stream is None or end is None:
        return None
    return float((stream.start_time or 0) * (stream.time_base or 0)) - origin(container), end


def refuse_cut_stream(path: Path, kind: str, decoded: float, stated: float | None) -> None:
    """Refuse a stream that ends well before its header says.

    Args:
        path: The file, for the message.
        kind: "video" or "sound".
        decoded: When the decoded part ends, in seconds.
        stated: When the stream ends by its header, or None when that says nothing.

    Raises:
        DecodeError: If more than half a second and a tenth of the stream are missing.
    """
    if stated is None:
        return
    missing = stated - decoded
    if missing > _MISSING_SECONDS and missing > _MISSING_SHARE * stated:
        raise DecodeError(f"{path.name}: {kind} stops after {decoded:.2f} s of {stated:.2f} s")


def duration(path: Path) -> float | None:
    """Return the seconds that a file's header states, or None if it states none.

    Raises:
        DecodeError: If the file cannot be opened.
    """
    with open_media(path) as container:
        return container.duration / av.time_base if container.duration else None
