"""Fingerprints of sound: equal for copies of one recording, whatever file format they went through."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft

from extractors.audio import DECODER, read_waveform
from extractors.contract import Clip, Extractor, Features, TooShortError

BITS = 32  # per row
HOP_SECONDS = 64 / 5512
_BLOCK = 512  # rows computed at a time


class SoundFingerprint(Extractor):
    """The sub-fingerprints of Haitsma and Kalker 2002, "A highly robust audio fingerprinting system".

    One row of 32 bits per 11.6 ms. Bit m says whether the energy of band m over that of band m + 1 has grown
    since the row before: signs of differences, which resampling, coding at a low rate and a change of level
    leave alone. 33 bands from 300 to 2,000 Hz, logarithmic, in Hann windows of 0.37 s.

    Not registered: it serves to compare clips with each other, and no head reads it. A row is valid where it
    is loud enough to be heard beside the loudest: what lies below is the noise of the room or of the coder.

    Args:
        rate: Hz that the sound is resampled to.
        n_fft: Samples of one window.
        hop: Samples from one row to the next.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        loud: How far below the loudest row a row may be, in dB.
        longest: Seconds of a clip that are looked at, from its beginning.
    """

    modality = "audio"

    def __init__(
        self,
        rate: int = 5512,
        n_fft: int = 2048,
        hop: int = 64,
        low: float = 300.0,
        high: float = 2000.0,
        loud: float = 40.0,
        longest: float = 120.0,
    ) -> None:
        self.rate = self.sound_rate = rate
        self.n_fft = n_fft
        self.hop = hop
        self.low = low
        self.high = high
        self.loud = loud
        self.longest = longest

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`bit0` … in rising frequency."""
        return tuple(f"bit{i}" for i in range(BITS))

    def identity(self) -> dict[str, Any]:
        """Every option, and the decoder."""
        options = ("rate", "n_fft", "hop", "low", "high", "loud", "longest")
        return {**{name: getattr(self, name) for name in options}, "decoder": DECODER}

    @cached_property
    def _bands(self) -> tuple[slice, NDArray[np.float32]]:
        """The part of the spectrum that is read, and `[its bins, 33]` zeros and ones."""
        edges = np.geomspace(self.low, self.high, BITS + 2)
        band = np.digitize(np.fft.rfftfreq(self.n_fft, 1 / self.rate), edges) - 1
        used = np.flatnonzero((band >= 0) & (band <= BITS))
        members = (band[used, None] == np.arange(BITS + 1)).astype(np.float32)
        return slice(int(used[0]), int(used[-1]) + 1), members

    def extract(self, clip: Clip) -> Features:
        """Return `[T, 32]` values of 1 and -1, valid where it is loud enough.

        Raises:
            TooShortError: If there are not two windows.
        """
        last = (clip.start or 0.0) + self.longest
        end = last if clip.end is None else min(clip.end, last)
        sound = read_waveform(clip.need_sound(), self.rate, start=clip.start, end=end)
        if len(sound.samples) < self.n_fft + self.hop:
            raise TooShortError(
                f"{len(sound.samples) / self.rate:.2f} s of sound; a fingerprint needs more than "
                f"{self.n_fft / self.rate:.2f} s"
            )
        energies = self._energies(sound.samples)
        growth = np.diff(energies[:, :-1] - energies[:, 1:], axis=0)
        loudness = energies[1:].sum(axis=1)
        loud = (loudness > 0) & (loudness >= loudness.max() * 10 ** (-self.loud / 10))
        begins = np.arange(1, len(energies)) * self.hop / self.rate + sound.start
        intervals = np.column_stack([begins, begins + self.n_fft / self.rate])
        return Features(np.where(growth > 0, 1, -1).astype(np.float32), intervals, loud, sound.silent)

    def _energies(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `[T + 1, 33]`."""
        used, members = self._bands
        window = np.hanning(self.n_fft).astype(np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.n_fft)[:: self.hop]
        parts = []
        for first in range(0, len(frames), _BLOCK):
            spectrum = rfft(frames[first : first + _BLOCK] * window, axis=1)[:, used]
            parts.append((spectrum.real**2 + spectrum.imag**2) @ members)
        return np.concatenate(parts)
