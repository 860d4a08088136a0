"""Posteriors in, decisions out: one fuser per file."""

from fusion import logistic, logpool, rules  # noqa: F401  # register
from fusion.contract import Fuser
from fusion.join import FusionError, Joined, Source, join
from fusion.registry import FUSERS

__all__ = ["FUSERS", "Fuser", "FusionError", "Joined", "Source", "join"]
