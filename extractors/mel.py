"""Power in mel bands, for the extractors that begin with it."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.audio import Waveform
from extractors.contract import Clip, TooShortError
from extractors.reading import sound_of

FLOOR_DB = -100
_FLOOR = 10 ** (FLOOR_DB / 10)  # of power


@dataclass(frozen=True)
class MelBands:
    """Triangular bands on Slaney's mel scale, scaled to one area, in frames around every hop.

    Attributes:
        rate: Hz that the sound is resampled to.
        n_fft: Samples of one Hann window.
        hop: Samples from one row to the next; row t looks at `n_fft` samples around t * hop.
        bands: Mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
    """

    rate: int
    n_fft: int
    hop: int
    bands: int
    low: float
    high: float

    def __getstate__(self) -> dict[str, Any]:
        """Leave the filters behind when sent to another process: they can be larger than the sound."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """Every option, and what is the same for all."""
        return {**asdict(self), "scale": "slaney", "floor_db": FLOOR_DB}

    @cached_property
    def _filters(self) -> NDArray[np.float64]:
        from transformers.audio_utils import mel_filter_bank

        # Asked for twice the rate, since transformers takes half of an odd one as a whole number of Hz.
        filters: NDArray[np.float64] = mel_filter_bank(
            self.n_fft + 1, self.bands, self.low, self.high, 2 * self.rate, norm="slaney", mel_scale="slaney"
        )
        return filters[: self.n_fft // 2 + 1]

    def sound(self, clip: Clip) -> Waveform:
        """Return the sound of a clip, which fills more than half a window.

        Raises:
            TooShortError: If it does not.
            ClipError: See `sound_of`.
        """
        sound = sound_of(clip, self.rate)
        if len(sound.samples) <= self.n_fft // 2:
            raise TooShortError(f"{len(sound.samples)} samples; one window is {self.n_fft}")
        return sound

    def decibels(
        self, samples: NDArray[np.float32], edges: Literal["reflect", "constant"], top_db: float | None = None
    ) -> NDArray[np.float64]:
        """Return `[floor(N / hop) + 1, bands]` dB values of N samples.

        Args:
            samples: `[N]`.
            edges: What lies before and after them: themselves, reflected, or zeros.
            top_db: How far below the loudest value of all the others may lie; None is any distance.
        """
        from transformers.audio_utils import spectrogram, window_function

        decibels: NDArray[np.float64] = spectrogram(
            samples,
            window_function(self.n_fft, "hann"),
            frame_length=self.n_fft,
            hop_length=self.hop,
            power=2.0,
            pad_mode=edges,
            mel_filters=self._filters,
            mel_floor=_FLOOR,
            log_mel="dB",
            min_value=_FLOOR,
            db_range=top_db,
            dtype=np.dtype(np.float64),
        )
        return decibels.T

    def intervals(self, rows: int, start: float) -> NDArray[np.float64]:
        """Return `[rows, 2]` seconds: one hop around the centre of each row, none of it before `start`."""
        middles = np.arange(rows) * self.hop / self.rate
        half = self.hop / self.rate / 2
        return np.column_stack([np.maximum(middles - half, 0), middles + half]) + start


def mel_bands(
    extractor: str, rate: int, n_fft: int, hop: int, bands: int, low: float, high: float | None
) -> MelBands:
    """Return the bands that the options of an extractor ask for; `high` None is half the rate.

    Raises:
        AffectstackError: If they make no sense, naming the extractor.
    """
    top = rate / 2 if high is None else high
    if not (0 < hop <= n_fft and 0 <= low < top <= rate / 2 and bands > 0):
        raise AffectstackError(
            f"{extractor}: rate {rate}, n_fft {n_fft}, hop {hop}, bands {bands}, {low:g} to {top:g} Hz; "
            "expected hop up to n_fft and a band range inside 0 to rate/2"
        )
    return MelBands(rate, n_fft, hop, bands, low, top)
