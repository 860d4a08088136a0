"""Sound files, and the sound of video files, as one channel at one rate."""

import struct
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from extractors.contract import DecodeError, MissingMediaError, TooShortError
from extractors.media import open_media, origin, refuse_cut_stream, stated_end

DECODER = f"soundfile-{soundfile.__version__} soxr-{soxr.__version__} pyav-{av.__version__}"
_ROUNDING = 1e-6
_SHORTEST_GAP = 0.05  # seconds; less is rounding of time stamps
_LONGEST_GAP = 600.0  # seconds; more is a damaged time stamp
_SOUNDFILE = {".wav", ".flac", ".ogg", ".aiff", ".aif"}


@dataclass(frozen=True)
class Waveform:
    """One channel of sound.

    Attributes:
        samples: `[N]` float32 in -1 to 1.
        rate: Hz.
        start: The time of the first sample, in seconds on the container's clock.
    """

    samples: NDArray[np.float32]
    rate: int
    start: float = 0.0


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
    """
    if not path.is_file():
        raise DecodeError(f"{path.name}: no such file")
    if path.stat().st_size == 0:
        raise DecodeError(f"{path.name}: the file is empty")
    read = _read_sound_file if path.suffix.lower() in _SOUNDFILE else _read_stream
    samples, native, begin = read(path)
    if not np.isfinite(samples).all():
        raise DecodeError(f"{path.name}: the sound holds NaN or infinite samples")
    first = 0 if start is None else max(0, round((start - begin) * native))
    last = len(samples) if end is None else max(0, round((end - begin) * native))
    samples, begin = samples[first:last], begin + first / native
    if len(samples) == 0:
        raise TooShortError(f"{path.name}: no sound between {start or 0:g} s and the end")
    if native != rate:
        samples = soxr.resample(samples, native, rate)
    return Waveform(np.ascontiguousarray(samples, dtype=np.float32), rate, begin)


def _read_sound_file(path: Path) -> tuple[NDArray[np.float32], int, float]:
    try:
        with soundfile.SoundFile(path) as file:
            stated = file.frames / file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
            rate = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise DecodeError(f"{path.name}: {error.error_string}") from error
    if path.suffix.lower() == ".wav":
        stated = max(stated, _wav_seconds(path))
    if len(samples) / rate < stated - _ROUNDING:
        raise DecodeError(f"{path.name}: sound stops after {len(samples) / rate:.2f} s of {stated:.2f} s")
    return samples.mean(axis=1), rate, 0.0


def _wav_seconds(path: Path) -> float:
    """Return how long a WAV header says the sound is; libsndfile corrects it silently when cut short.

    Less one block: the last one of a compressed WAV may be padded.
    """
    rate = block = 0
    with path.open("rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return 0.0
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                streamed = size >= 0xFFFFFF00  # written before its length was known
                return 0.0 if streamed or not rate else (size - block) / rate
            chunk = file.read(min(size + size % 2, 64))
            if name == b"fmt " and len(chunk) >= 14:
                rate, block = struct.unpack_from("<IH", chunk, 8)  # bytes per second, and per block
            file.seek(size + size % 2 - len(chunk), 1)
    return 0.0


def _read_stream(path: Path) -> tuple[NDArray[np.float32], int, float]:
    """Decode the first sound stream of a container with FFmpeg."""
    with open_media(path) as container:
        if not container.streams.audio:
            raise MissingMediaError(f"{path.name}: no sound stream")
        stream = container.streams.audio[0]
        ends = stated_end(container, stream)
        zero, rate = origin(container), int(stream.rate)
        to_float = av.AudioResampler(format="fltp")
        begin, held = 0.0, 0
        pieces: list[NDArray[np.float32]] = []
        for frame in container.decode(stream):
            time = begin + held / rate if frame.time is None else frame.time - zero
            begin = begin if pieces else time
            gap = time - begin - held / rate
            if gap > _LONGEST_GAP:
                raise DecodeError(f"{path.name}: a gap of {gap:.0f} s in the sound")
            if gap > _SHORTEST_GAP:  # missing sound is silence, or all that follows would be early
                pieces.append(np.zeros(round(gap * rate), np.float32))
                held += len(pieces[-1])
            try:
                decoded = [f.to_ndarray().mean(axis=0) for f in to_float.resample(frame)]
            except ValueError as error:
                raise DecodeError(f"{path.name}: the sound changes its format midway ({error})") from error
            pieces += decoded
            held += sum(map(len, decoded))
    if not pieces:
        raise DecodeError(f"{path.name}: no sound could be decoded")
    samples = np.concatenate(pieces).astype(np.float32, copy=False)
    refuse_cut_stream(path, "sound", begin + len(samples) / rate, ends)
    return samples, rate, begin
