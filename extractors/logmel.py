"""Log-mel spectrograms."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.audio import DECODER
from extractors.contract import Clip, Extractor, Features, TooShortError
from extractors.reading import sound_of
from extractors.registry import EXTRACTORS

_FLOOR = 1e-10  # of power, -100 dB


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
        top = rate / 2 if high is None else high
        if not (0 < hop <= n_fft and 0 <= low < top <= rate / 2 and bands > 0):
            raise AffectstackError(
                f"logmel: rate {rate}, n_fft {n_fft}, hop {hop}, bands {bands}, {low:g} to {top:g} Hz; "
                "expected hop up to n_fft and a band range inside 0 to rate/2"
            )
        self.rate = self.sound_rate = rate
        self.n_fft = n_fft
        self.hop = hop
        self.bands = bands
        self.low = low
        self.high = top
        self.rows_per_second = rate / hop

    def __getstate__(self) -> dict[str, Any]:
        """Leave the filters behind when sent to another process: they can be larger than the sound."""
        return {k: v for k, v in self.__dict__.items() if k != "_filters"}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`mel0` … in rising frequency."""
        return tuple(f"mel{i}" for i in range(self.bands))

    def identity(self) -> dict[str, Any]:
        """Every option, and the decoder."""
        options = {k: getattr(self, k) for k in ("rate", "n_fft", "hop", "bands", "low", "high")}
        return {**options, "scale": "slaney", "floor_db": -100, "decoder": DECODER}

    @cached_property
    def _filters(self) -> NDArray[np.float64]:
        from transformers.audio_utils import mel_filter_bank

        filters: NDArray[np.float64] = mel_filter_bank(
            self.n_fft // 2 + 1, self.bands, self.low, self.high, self.rate, norm="slaney", mel_scale="slaney"
        )
        return filters

    def extract(self, clip: Clip) -> Features:
        """Return `[floor(N / hop) + 1, bands]` dB values of N samples."""
        from transformers.audio_utils import spectrogram, window_function

        sound = sound_of(clip, self.rate)
        if len(sound.samples) <= self.n_fft // 2:
            raise TooShortError(f"{len(sound.samples)} samples; one window is {self.n_fft}")
        values = spectrogram(
            sound.samples,
            window_function(self.n_fft, "hann"),
            frame_length=self.n_fft,
            hop_length=self.hop,
            power=2.0,
            mel_filters=self._filters,
            mel_floor=_FLOOR,
            log_mel="dB",
            min_value=_FLOOR,
        ).T.astype(np.float32)
        middles = np.arange(len(values)) * self.hop / self.rate
        half = self.hop / self.rate / 2
        intervals = np.column_stack([np.maximum(middles - half, 0), middles + half]) + sound.start
        return Features(values, intervals, np.ones(len(values), dtype=np.bool_), sound.silent)
