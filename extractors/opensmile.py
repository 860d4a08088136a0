"""Acoustic functionals and low-level descriptors by openSMILE.

Eyben et al. 2010. openSMILE is free for research and education only; see its licence.
"""

import math
import warnings
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extractors.audio import DECODER
from extractors.contract import Clip, Extractor, Features, TooShortError
from extractors.reading import sound_of
from extractors.registry import EXTRACTORS

if TYPE_CHECKING:
    import opensmile

_LEVELS = {"functionals": "Functionals", "lld": "LowLevelDescriptors"}


@EXTRACTORS.register("opensmile")
class OpenSmile(Extractor):
    """openSMILE's reference feature sets.

    Args:
        feature_set: eGeMAPSv02 (88 functionals, 25 descriptors) or ComParE_2016 (6,373 and 65).
        level: "functionals" gives one row per clip, "lld" one row per 10 ms.
        rate: Hz that the sound is resampled to first, since the values depend on it.
    """

    modality = "audio"

    def __init__(
        self,
        feature_set: Literal["eGeMAPSv02", "ComParE_2016"] = "eGeMAPSv02",
        level: Literal["functionals", "lld"] = "functionals",
        rate: int = 16000,
    ) -> None:
        self.feature_set = feature_set
        self.level = level
        self.rows_per_second = 100.0 if level == "lld" else 0.0
        self.rate = self.sound_rate = rate

    @cached_property
    def _smile(self) -> "opensmile.Smile":
        import opensmile  # takes half a second

        level = opensmile.FeatureLevel[_LEVELS[self.level]]
        return opensmile.Smile(opensmile.FeatureSet[self.feature_set], level)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the running openSMILE behind when sent to another process."""
        return {k: v for k, v in self.__dict__.items() if k != "_smile"}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """OpenSMILE's own names."""
        return tuple(self._smile.feature_names)

    def identity(self) -> dict[str, Any]:
        """Feature set, level, rate, and the versions of openSMILE and of the decoder."""
        return {
            "feature_set": self.feature_set,
            "level": self.level,
            "rate": self.rate,
            "opensmile": version("opensmile"),
            "decoder": DECODER,
        }

    def extract(self, clip: Clip) -> Features:
        """Return `[1, D]` functionals of the clip or `[T, D]` descriptors."""
        sound = sound_of(clip, self.rate)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Segment too short")  # the error below says it once
            table = self._smile.process_signal(sound.samples, self.rate)
        values = table.to_numpy(dtype=np.float32)
        seconds = len(sound.samples) / self.rate
        if math.isnan(values.sum()) and seconds < 1.0:
            raise TooShortError(f"{seconds:.2f} s of sound is too short for {self.feature_set}")
        ends = table.index.get_level_values("end").total_seconds().to_numpy(dtype=np.float64)
        starts = table.index.get_level_values("start").total_seconds().to_numpy(dtype=np.float64)
        intervals = np.column_stack([starts, np.minimum(ends, seconds)]) + sound.start
        return Features(values, intervals, np.ones(len(values), dtype=np.bool_), sound.silent)
