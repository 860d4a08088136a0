"""Made voices that differ as real ones do, and the ways in which a copy of one may differ from it."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import lfilter

RATE = 16000
Sound = NDArray[np.float32]


def voice(seed: int, seconds: float = 3.0, silence: float = 0.3) -> Sound:
    """Return noise through resonances that move, under syllables, with a quiet room before and after."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(round(seconds / 0.1)):
        noise = rng.normal(size=RATE // 10) * rng.uniform(0.2, 1)
        for hz in rng.uniform(250, 2500, size=3):
            pole = 0.97 * np.exp(2j * np.pi * hz / RATE)
            noise = noise + lfilter([1.0], [1, -2 * pole.real, abs(pole) ** 2], noise)
        pieces.append(noise)
    spoken = np.concatenate(pieces)
    room = np.zeros(round(silence * RATE))
    sound = np.concatenate([room, 0.3 * spoken / np.abs(spoken).max(), room])
    return (sound + 1e-5 * rng.normal(size=len(sound))).astype(np.float32)


def noise(seconds: float = 1.0, rate: int = RATE) -> NDArray[np.float64]:
    """Return white noise, always the same."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate))


def write_sound(
    path: Path, sound: NDArray[Any], rate: int = RATE, subtype: str | None = None, **more: str
) -> Path:
    """Write a sound file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype=subtype, **more)
    return path


def write_copy(
    path: Path, sound: Sound, *, delay: float = 0.02, gain: float = 0.5, bits: int = 64000
) -> Path:
    """Write what a camera's file holds of a sound: AAC in MP4 at 48 kHz, later and less loud."""
    samples = soxr.resample(
        np.concatenate([np.zeros(round(delay * RATE), np.float32), gain * sound]), RATE, 48000
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path
