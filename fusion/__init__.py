"""Posteriors, values or aligned features in, decisions out: one fuser per file.

Fusers of posteriors are in `FUSERS`, of values in `VALUE_FUSERS`. Those of sequences of features are heads
like any other, in `HEADS`.
"""

from fusion import (  # noqa: F401  # register
    logistic,
    logpool,
    mlp,
    mmer,
    rules,
    svc,
    value_linear,
    value_rules,
)
from fusion.contract import Combiner, Fuser, ValueFuser
from fusion.join import FusionError, Joined, Missing, Source, join
from fusion.registry import FUSERS, VALUE_FUSERS
from fusion.sequences import self_attention, versatile  # noqa: F401  # register
from fusion.temperature import Tempered

__all__ = [
    "FUSERS",
    "VALUE_FUSERS",
    "Combiner",
    "Fuser",
    "FusionError",
    "Joined",
    "Missing",
    "Source",
    "Tempered",
    "ValueFuser",
    "join",
]
