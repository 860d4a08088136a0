"""Posteriors or aligned features in, decisions out: one fuser per file.

Fusers of posteriors are in `FUSERS`. Those of sequences of features are heads like any other, in `HEADS`.
"""

from fusion import logistic, logpool, mlp, mmer, rules, svc  # noqa: F401  # register
from fusion.contract import Fuser
from fusion.join import FusionError, Joined, Missing, Source, join
from fusion.registry import FUSERS
from fusion.sequences import self_attention, versatile  # noqa: F401  # register
from fusion.temperature import Tempered

__all__ = ["FUSERS", "Fuser", "FusionError", "Joined", "Missing", "Source", "Tempered", "join"]
