"""Sound files, and the sound of video files, decoded into blocks of one channel."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import av
import numpy as np
import soundfile
from av.container import InputContainer
from numpy.typing import NDArray

from extractors.audit import Stated
from extractors.contract import DecodeError, LimitExceededError, MissingMediaError
from extractors.media import open_media, origin, refuse_cut_stream, stated, stated_end
from extractors.sound_headers import refuse_cut_sound

MAX_CHANNELS = 64
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
BLOCK = 1 << 18  # samples decoded at a time, all channels together

_UNSTATED = (1 << 63) - 1  # SF_COUNT_MAX of libsndfile: the header does not say
_SHORTEST_GAP = 0.05  # seconds; less is rounding of time stamps
_LONGEST_GAP = 600.0  # seconds; more is a damaged time stamp
# PyAV 18 reads stray memory, or crashes, on a frame of more channels that are not interleaved.
_SEPARATE = 7
_SOUNDFILE = {".wav", ".flac", ".ogg", ".aiff", ".aif"}


@dataclass(frozen=True)
class Block:
    """A decoded part of a file's sound.

    Attributes:
        samples: `[N]` float32, the mean of the channels.
        rate: Of the file, in Hz.
        stated: What the file says.
        begin: The time of the file's first sample, in seconds.
        gaps: Where samples are silence in place of what is missing: how many lie before, and how many.
        offset: How many samples of the file lie before it.
    """

    samples: NDArray[np.float32]
    rate: int
    stated: Stated
    begin: float = 0.0
    gaps: tuple[tuple[int, int], ...] = ()
    offset: int = 0

    @property
    def time(self) -> float:
        """When it begins, in seconds."""
        return self.begin + self.offset / self.rate

    @property
    def end(self) -> float:
        """When it ends, in seconds."""
        return self.time + len(self.samples) / self.rate

    def missing(self, first: int, last: int) -> int:
        """Return how many samples of the file from `first` to before `last` are missing in it."""
        begins = [(self.offset + before, count) for before, count in self.gaps]
        return sum(max(0, min(last, begin + count) - max(first, begin)) for begin, count in begins)


def decode(path: Path) -> Generator[Block, None, None]:
    """Decode a file from its beginning; every one gives at least one block."""
    offset = 0
    with closing((_decode_file if path.suffix.lower() in _SOUNDFILE else _decode_stream)(path)) as blocks:
        for block in blocks:
            if not np.isfinite(block.samples).all():
                raise DecodeError(f"{path.name}: the sound holds NaN or infinite samples")
            yield replace(block, offset=offset)
            offset += len(block.samples)


def _refuse_layout(path: Path, channels: int, rate: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise LimitExceededError(f"{path.name}: {channels} channels of sound; 1 to {MAX_CHANNELS} are read")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise LimitExceededError(f"{path.name}: sound at {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are read")


class _ForwardFile(soundfile.SoundFile):
    """A sound file read from front to back.

    soundfile would seek after each block to where it already is: slow, and an error at the end of a
    FLAC that does not state its length.
    """

    def seekable(self) -> bool:
        return False


def _decode_file(path: Path) -> Generator[Block, None, None]:
    """Decode with libsndfile."""
    try:
        with _ForwardFile(path) as file:
            rate, frames = int(file.samplerate), file.frames
            _refuse_layout(path, file.channels, rate)
            says = Stated(sound=None if frames == _UNSTATED else (0.0, frames / rate))
            held, more = 0, True
            while more:
                wanted = min(frames - held, BLOCK // file.channels)
                samples = file.read(wanted, dtype="float32", always_2d=True)
                held += len(samples)
                more = len(samples) == wanted and held < frames
                yield Block(_mean(samples), rate, says)
    except soundfile.LibsndfileError as error:
        raise DecodeError(f"{path.name}: {error.error_string}") from error
    refuse_cut_sound(path, held, rate)
    if held < frames != _UNSTATED:
        raise DecodeError(f"{path.name}: sound stops after {held / rate:.2f} s of {frames / rate:.2f} s")


def _decode_stream(path: Path) -> Generator[Block, None, None]:
    """Decode the first sound stream of a container with FFmpeg; join its many small frames."""
    with open_media(path) as container:
        if not container.streams.audio:
            raise MissingMediaError(f"{path.name}: no sound stream")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise DecodeError(f"{path.name}: its sound is of a kind that FFmpeg cannot decode")
        rate, ends, says = int(stream.rate or 0), stated_end(container, stream), stated(container)
        _refuse_layout(path, stream.channels, rate)
        begin, held, pending = 0.0, 0, 0
        pieces: list[NDArray[np.float32]] = []
        gaps: list[tuple[int, int]] = []
        for begin, piece, real in _pieces(path, container, rate):
            pieces.append(piece)
            gaps += [] if real else [(pending, len(piece))]
            held, pending = held + len(piece), pending + len(piece)
            if pending >= BLOCK:
                yield Block(np.concatenate(pieces), rate, says, begin, tuple(gaps))
                pieces, pending, gaps = [], 0, []
    if held == 0:
        raise DecodeError(f"{path.name}: no sound could be decoded")
    yield Block(np.concatenate([*pieces, np.empty(0, np.float32)]), rate, says, begin, tuple(gaps))
    refuse_cut_stream(path, "sound", begin + held / rate, ends)
    refuse_cut_sound(path, held, rate)


def _pieces(
    path: Path, container: InputContainer, rate: int
) -> Iterator[tuple[float, NDArray[np.float32], bool]]:
    """Yield the time of the first sample, `[n]` samples, and whether they are real or fill a gap."""
    to_float = av.AudioResampler(format="flt")
    zero, held = origin(container), 0
    begin: float | None = None
    for frame in container.decode(audio=0):
        if frame.sample_rate != rate:
            raise DecodeError(
                f"{path.name}: the sound is at {frame.sample_rate} Hz where its header says {rate} Hz"
            )
        expected = (begin or 0.0) + held / rate
        time = expected if frame.time is None else frame.time - zero
        begin = time if begin is None else begin
        gap = time - begin - held / rate
        filled = ((piece, False) for piece in _silence(path, gap, rate))
        for piece, real in chain(filled, ((piece, True) for piece in _mono(path, frame, to_float))):
            held += len(piece)
            yield begin, piece, real


def _silence(path: Path, gap: float, rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield zeros for a gap of so many seconds: or all that follows would be early."""
    if gap > _LONGEST_GAP:
        raise DecodeError(f"{path.name}: a gap of {gap:.0f} s in the sound")
    missing = round(gap * rate) if gap > _SHORTEST_GAP else 0
    for first in range(0, missing, BLOCK):
        yield np.zeros(min(BLOCK, missing - first), np.float32)


def _mono(path: Path, frame: av.AudioFrame, to_float: av.AudioResampler) -> Iterator[NDArray[np.float32]]:
    channels = frame.layout.nb_channels
    if frame.format.name == "fltp" and channels <= _SEPARATE:  # as most codecs give it
        yield frame.to_ndarray().mean(axis=0, dtype=np.float32)
        return
    try:
        for part in to_float.resample(frame):
            yield _mean(part.to_ndarray().astype(np.float32, copy=False).reshape(-1, channels))
    except ValueError as error:
        raise DecodeError(f"{path.name}: the sound changes its format midway ({error})") from error


def _mean(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels of `[N, C]`; one channel is its own mean and costs nothing."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    return np.ascontiguousarray(samples.T).mean(axis=0)  # adding whole channels is several times faster
