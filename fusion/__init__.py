"""Posteriors in, decisions out: one fuser per file."""

from fusion import logistic, logpool, mlp, mmer, rules, svc  # noqa: F401  # register
from fusion.contract import Fuser
from fusion.join import FusionError, Joined, Missing, Source, join
from fusion.registry import FUSERS
from fusion.temperature import Tempered

__all__ = ["FUSERS", "Fuser", "FusionError", "Joined", "Missing", "Source", "Tempered", "join"]
