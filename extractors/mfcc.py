"""Mel-frequency cepstral coefficients."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.fft import dct

from affectstack import AffectstackError
from extractors.audio import DECODER, MAX_SECONDS, Waveform
from extractors.contract import Clip, Extractor, Features
from extractors.mel import MelBands, mel_bands
from extractors.registry import EXTRACTORS

_TOP_DB = 80


@EXTRACTORS.register("mfcc")
class Mfcc(Extractor):
    """The first cepstral coefficients of every hop: the cosine transform of its mel bands in dB.

    As librosa 0.11 makes them by default. Frames are centred, with zeros before the first sample and after
    the last. What lies more than 80 dB below the loudest band of the whole clip is raised to there, by
    definition: the values of a quiet row depend on how loud the clip is elsewhere.

    With `seconds`, every clip gives the same number of rows. Of a longer one the centre is taken, before
    anything is computed, and its rows keep their times; zeros follow a shorter one, and rows whose centre
    lies in them are not valid. katerynaCh's sound (SYSTEMS 3.2) is `seconds: 3.6`: 79,380 samples, 156 rows.

    Args:
        rate: Hz that the sound is resampled to.
        n_fft: Samples of one Hann window.
        hop: Samples from one row to the next.
        bands: Mel bands.
        coefficients: How many are kept, from the mean of all bands upwards.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz; None is half the rate.
        seconds: The length that clips are cut or filled up to; None leaves them as they are.
    """

    modality = "audio"

    def __init__(
        self,
        rate: int = 22050,
        n_fft: int = 2048,
        hop: int = 512,
        bands: int = 128,
        coefficients: int = 10,
        low: float = 0.0,
        high: float | None = None,
        seconds: float | None = None,
    ) -> None:
        self._mel = mel_bands("mfcc", rate, n_fft, hop, bands, low, high)
        if not 0 < coefficients <= bands:
            raise AffectstackError(
                f"mfcc: {coefficients} coefficients of {bands} bands; expected 1 to {bands}"
            )
        self.coefficients = coefficients
        self.seconds = seconds
        self._samples = None if seconds is None else _samples(seconds, self._mel)
        self.sound_rate = rate
        self.rows_per_second = rate / hop if seconds is None else 0.0

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`mfcc0`, which is the level, and `mfcc1` …, finer and finer shapes of the spectrum."""
        return tuple(f"mfcc{i}" for i in range(self.coefficients))

    def identity(self) -> dict[str, Any]:
        """Every option, the range in dB, and the decoder."""
        options = {"coefficients": self.coefficients, "seconds": self.seconds}
        return {**self._mel.identity(), **options, "top_db": _TOP_DB, "decoder": DECODER}

    def extract(self, clip: Clip) -> Features:
        """Return `[floor(N / hop) + 1, coefficients]` values of the clip's N samples, or of `seconds`."""
        sound = self._centre(self._mel.sound(clip))
        heard = len(sound.samples)
        samples = np.pad(sound.samples, (0, (self._samples or heard) - heard))
        cepstra = dct(self._mel.decibels(samples, "constant", _TOP_DB), axis=1, norm="ortho")
        values = cepstra[:, : self.coefficients].astype(np.float32)
        valid = np.arange(len(values)) * self._mel.hop <= heard
        return Features(values, self._mel.intervals(len(values), sound.start), valid, sound.silent)

    def _centre(self, sound: Waveform) -> Waveform:
        """Return the centre of a sound that is longer than wanted, and any other as it is."""
        length = self._samples or len(sound.samples)
        first = max(0, len(sound.samples) - length) // 2
        start = sound.start + first / sound.rate
        return replace(sound, samples=sound.samples[first : first + length], start=start)


def _samples(seconds: float, mel: MelBands) -> int:
    """Return how many samples a clip shall have.

    Raises:
        AffectstackError: If they fill no more than half a window, or are more than any clip may have.
    """
    if not (0 < seconds <= MAX_SECONDS and round(seconds * mel.rate) > mel.n_fft // 2):
        raise AffectstackError(
            f"mfcc: seconds {seconds:g}; expected more than half a window, {mel.n_fft / 2 / mel.rate:.3g} s, "
            f"and at most {MAX_SECONDS:g}"
        )
    return round(seconds * mel.rate)
