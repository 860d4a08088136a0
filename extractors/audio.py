"""Sound files, and the sound of video files, as one channel, read in one pass at the rates wanted."""

import sys
from collections import deque
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from av.container import InputContainer
from numpy.typing import NDArray

from extractors.audit import Heard, Stated
from extractors.contract import DecodeError, LimitExceededError, MissingMediaError, TooShortError
from extractors.media import (
    open_media,
    origin,
    refuse_cut_stream,
    refuse_no_file,
    stated,
    stated_end,
    unreadable,
)
from extractors.sound_headers import refuse_cut_sound

DECODER = f"soundfile-{soundfile.__version__} soxr-{soxr.__version__} pyav-{av.__version__}"

# A file of a few kilobytes can expand to days of silence. More than this is no clip.
MAX_SECONDS = 6 * 3600.0  # of sound that is kept
MAX_CHANNELS = 64
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz

_BLOCK = 1 << 18  # samples decoded at a time, all channels together
_KEPT = 1 << 23  # samples of a tape: three minutes at 48 kHz, 32 MB
_FEED = 1 << 13  # samples resampled at a time; soxr takes three times as long for 2**16 in one piece
_UNSTATED = (1 << 63) - 1  # SF_COUNT_MAX of libsndfile: the header does not say
_SHORTEST_GAP = 0.05  # seconds; less is rounding of time stamps
_LONGEST_GAP = 600.0  # seconds; more is a damaged time stamp
# PyAV 18 reads stray memory, or crashes, on a frame of more channels that are not interleaved.
_SEPARATE = 7
_SOUNDFILE = {".wav", ".flac", ".ogg", ".aiff", ".aif"}


@dataclass(frozen=True)
class Waveform:
    """One channel of sound.

    Attributes:
        samples: `[N]` float32 in -1 to 1.
        rate: Hz.
        start: The time of the first sample, in seconds on the container's clock.
        heard: What was decoded of the file for it.
    """

    samples: NDArray[np.float32]
    rate: int
    start: float = 0.0
    heard: Heard | None = None

    @property
    def silent(self) -> bool:
        """Whether every sample is exactly 0: a microphone that was off, a track that was muted."""
        return not self.samples.any()


def read_waveform(path: Path, rate: int, *, start: float | None = None, end: float | None = None) -> Waveform:
    """Read sound, average its channels and resample it once (soxr, high quality).

    Args:
        path: A sound file, or a video file with sound.
        rate: The rate wanted, in Hz.
        start: Where to begin, in seconds; None is the beginning.
        end: Where to stop, in seconds; None is the end.

    Raises:
        MissingMediaError: If the file has no sound.
        DecodeError: If it cannot be decoded, was cut short, or holds NaN or infinity.
        TooShortError: If no sample lies between `start` and `end`.
        LimitExceededError: If that is more sound, or sound of another kind, than a clip may have.
    """
    return read_waveforms(path, [rate], start=start, end=end)[rate]


def read_waveforms(
    path: Path,
    rates: Collection[int],
    *,
    start: float | None = None,
    end: float | None = None,
    tape: "Tape | None" = None,
) -> dict[int, Waveform]:
    """Read sound once and resample it to several rates; memory holds the result and one block.

    Nothing is decoded after `end`, so a file that was cut short behind it still gives this piece.

    Args:
        path: A sound file, or a video file with sound.
        rates: The rates wanted, in Hz.
        start: Where to begin, in seconds; None is the beginning.
        end: Where to stop, in seconds; None is the end.
        tape: Where the last piece was read from; one that lies behind it is reached without what is between
            the beginning and there. The samples are the same.

    Returns:
        One waveform for each rate.

    Raises:
        MissingMediaError, DecodeError, TooShortError, LimitExceededError: As `read_waveform`.
    """
    refuse_no_file(path)
    try:
        with closing(_decode(path) if tape is None else tape.play(path, start or 0.0)) as blocks:
            return _keep(path, blocks, rates, start, end)
    except MemoryError as error:
        raise LimitExceededError(
            f"{path.name}: the sound does not fit into memory; name a start and an end in the manifest"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


@dataclass(frozen=True)
class _Block:
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


class Tape:
    """The sound of a long file, decoded forward once for pieces that follow each other.

    What was decoded last is kept, for pieces that overlap. A piece that begins before it, or lies in another
    file, is decoded from the beginning of its file, and so is whatever follows an error.
    """

    def __init__(self) -> None:
        self._stamp: tuple[Path | int, ...] | None = None
        self._source: Generator[_Block, None, None] | None = None
        self._kept: deque[_Block] = deque()

    def play(self, path: Path, start: float) -> Generator[_Block, None, None]:
        """Yield the blocks of a file from one that begins at `start` or before, or from the first."""
        found = path.stat()
        stamp = (path, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp or not self._kept or (self._kept[0].offset and self._kept[0].time > start):
            self.forget()
            self._stamp, self._source = stamp, _decode(path)
        last = self._kept[-1] if self._kept else None  # what lies behind the end is told by it
        yield from [block for block in self._kept if block is last or block.end >= start]
        while (block := self._next()) is not None:
            yield block

    def forget(self) -> None:
        """Close the file."""
        if self._source is not None:
            self._source.close()
        self._stamp, self._source = None, None
        self._kept.clear()

    def _next(self) -> _Block | None:
        """Decode on; an end is an end for later pieces too, an error is one when it is met again."""
        assert self._source is not None  # noqa: S101  # asked while it plays
        try:
            block = next(self._source, None)
        except BaseException:
            self.forget()
            raise
        if block is not None:
            self._kept.append(block)
            while len(self._kept) > 1 and sum(len(b.samples) for b in self._kept) > _KEPT:
                self._kept.popleft()
        return block


class _Track:
    """Sound at one rate that grows at its end, in place: a list of parts would need the room twice."""

    def __init__(self, native: int, rate: int) -> None:
        self.rate = rate
        self._ratio = rate / native
        self._stream = None if native == rate else soxr.ResampleStream(native, rate, 1, "float32", "HQ")
        self._samples = np.empty(0, np.float32)
        self._held = 0

    def add(self, samples: NDArray[np.float32]) -> None:
        self._make_room(self._held + round(len(samples) * self._ratio))
        if self._stream is None:
            return self._append(samples)
        for first in range(0, len(samples), _FEED):
            self._append(self._stream.resample_chunk(samples[first : first + _FEED]))
        return None

    def _make_room(self, needed: int) -> None:
        if needed > len(self._samples):
            # By a quarter, so that all copying together costs no more than a few copies.
            self._samples.resize(max(needed, len(self._samples) * 5 // 4), refcheck=False)

    def _append(self, samples: NDArray[np.float32]) -> None:
        begin, self._held = self._held, self._held + len(samples)
        self._make_room(self._held)
        self._samples[begin : self._held] = samples

    def finish(self) -> NDArray[np.float32]:
        """Return `[N]` float32; nothing can be added after this."""
        if self._stream is not None:
            self._append(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
        self._samples.resize(self._held, refcheck=False)
        return self._samples


def _keep(
    path: Path, blocks: Iterator[_Block], rates: Collection[int], start: float | None, end: float | None
) -> dict[int, Waveform]:
    """Keep what lies between `start` and `end`."""
    head = next(blocks)
    first = 0 if start is None else max(0, round((start - head.begin) * head.rate))
    last = sys.maxsize if end is None else max(0, round((end - head.begin) * head.rate))
    tracks = [_Track(head.rate, rate) for rate in rates]
    passed = kept = gap = 0
    for block in chain([head], blocks):
        piece = block.samples[max(first - block.offset, 0) : max(last - block.offset, 0)]
        passed, kept = block.offset + len(block.samples), kept + len(piece)
        gap += block.missing(first, last)
        _refuse_long(path, kept / head.rate)
        for track in tracks:
            track.add(piece)
        if passed >= last:
            break
    heard = Heard(head.stated, head.begin, passed / head.rate, gap / head.rate, whole=passed < last)
    begin = head.begin + first / head.rate
    waveforms = {track.rate: Waveform(track.finish(), track.rate, begin, heard) for track in tracks}
    if kept == 0 or any(len(waveform.samples) == 0 for waveform in waveforms.values()):
        raise TooShortError(f"{path.name}: no sound between {start or 0:g} s and the end")
    return waveforms


def _refuse_long(path: Path, seconds: float) -> None:
    if seconds > MAX_SECONDS:
        raise LimitExceededError(
            f"{path.name}: more than {MAX_SECONDS / 3600:g} hours of sound in one clip; "
            "name a start and an end in the manifest"
        )


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


def _decode(path: Path) -> Generator[_Block, None, None]:
    """Decode a file from its beginning; every one gives at least one block."""
    offset = 0
    with closing((_decode_file if path.suffix.lower() in _SOUNDFILE else _decode_stream)(path)) as blocks:
        for block in blocks:
            if not np.isfinite(block.samples).all():
                raise DecodeError(f"{path.name}: the sound holds NaN or infinite samples")
            yield replace(block, offset=offset)
            offset += len(block.samples)


def _decode_file(path: Path) -> Generator[_Block, None, None]:
    """Decode with libsndfile."""
    try:
        with _ForwardFile(path) as file:
            rate, frames = int(file.samplerate), file.frames
            _refuse_layout(path, file.channels, rate)
            says = Stated(sound=None if frames == _UNSTATED else (0.0, frames / rate))
            held, more = 0, True
            while more:
                wanted = min(frames - held, _BLOCK // file.channels)
                samples = file.read(wanted, dtype="float32", always_2d=True)
                held += len(samples)
                more = len(samples) == wanted and held < frames
                yield _Block(_mean(samples), rate, says)
    except soundfile.LibsndfileError as error:
        raise DecodeError(f"{path.name}: {error.error_string}") from error
    refuse_cut_sound(path, held, rate)
    if held < frames != _UNSTATED:
        raise DecodeError(f"{path.name}: sound stops after {held / rate:.2f} s of {frames / rate:.2f} s")


def _decode_stream(path: Path) -> Generator[_Block, None, None]:
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
            if pending >= _BLOCK:
                yield _Block(np.concatenate(pieces), rate, says, begin, tuple(gaps))
                pieces, pending, gaps = [], 0, []
    if held == 0:
        raise DecodeError(f"{path.name}: no sound could be decoded")
    yield _Block(np.concatenate([*pieces, np.empty(0, np.float32)]), rate, says, begin, tuple(gaps))
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
    for first in range(0, missing, _BLOCK):
        yield np.zeros(min(_BLOCK, missing - first), np.float32)


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
