"""The stages, and what only they need."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.predicting.predictor import Predictor

# Threads of a network that wait for each other by spinning waste their cores whenever another process has one
# of them, such as a decode worker. This is read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Load `Predictor` when it is asked for: commands and workers that do without it start faster."""
    if name != "Predictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline.predicting.predictor import Predictor

    return Predictor
