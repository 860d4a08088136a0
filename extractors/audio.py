"""Sound files, and the sound of video files, as one channel, read in one pass at the rates wanted."""

import sys
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from extractors.audit import Heard
from extractors.contract import LimitExceededError, TooShortError
from extractors.media import refuse_no_file, unreadable
from extractors.sound_blocks import Block, decode
from extractors.tape import Tape

DECODER = f"soundfile-{soundfile.__version__} soxr-{soxr.__version__} pyav-{av.__version__}"

# A file of a few kilobytes can expand to days of silence. More than this is no clip.
MAX_SECONDS = 6 * 3600.0  # of sound that is kept

_FEED = 1 << 13  # samples resampled at a time; soxr takes three times as long for 2**16 in one piece


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
    tape: Tape | None = None,
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
        with closing(decode(path) if tape is None else tape.play(path, start or 0.0)) as blocks:
            return _keep(path, blocks, rates, start, end)
    except MemoryError as error:
        raise LimitExceededError(
            f"{path.name}: the sound does not fit into memory; name a start and an end in the manifest"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


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
    path: Path, blocks: Iterator[Block], rates: Collection[int], start: float | None, end: float | None
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
