"""Log-mel spectrograms."""

from typing import Any

import numpy as np

from extractors.audio import DECODER
from extractors.contract import Clip, Extractor, Features
from extractors.mel import mel_bands
from extractors.registry import EXTRACTORS


@EXTRACTORS.register("logmel")
class LogMel(Extractor):
    """Power in mel bands, in dB: one row per hop.

    The defaults are those of VAER (SYSTEMS: 48 kHz, n_fft 1024, hop 512, 128 bands from 50 to 24,000 Hz) at
    a third of its rate. Frames are centred: row t looks at `n_fft` samples around t * hop.

    Args:
        rate: Hz that the sound is resampled to.
        n_fft: Samples of one Hann window.
        hop: Samples from one row to the next.
        bands: Mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz; None is half the rate.
    """

    modality = "audio"

    def __init__(
        self,
        rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 256,
        bands: int = 64,
        low: float = 50.0,
        high: float | None = None,
    ) -> None:
        self._mel = mel_bands("logmel", rate, n_fft, hop, bands, low, high)
        self.sound_rate = rate
        self.rows_per_second = rate / hop

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`mel0` … in rising frequency."""
        return tuple(f"mel{i}" for i in range(self._mel.bands))

    def identity(self) -> dict[str, Any]:
        """Every option, and the decoder."""
        odd = self._mel.rate % 2 or self._mel.n_fft % 2
        mended = {"frequencies": "not rounded"} if odd else {}  # those of older stores were, to 1 Hz
        return {**self._mel.identity(), **mended, "decoder": DECODER}

    def extract(self, clip: Clip) -> Features:
        """Return `[floor(N / hop) + 1, bands]` dB values of N samples."""
        sound = self._mel.sound(clip)
        values = self._mel.decibels(sound.samples, "reflect").astype(np.float32)
        intervals = self._mel.intervals(len(values), sound.start)
        return Features(values, intervals, np.ones(len(values), dtype=np.bool_), sound.silent)
