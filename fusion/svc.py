"""Stacking by a support vector machine."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fusion.join import FusionError
from fusion.registry import FUSERS
from fusion.stacker import Stacker


@FUSERS.register("svc")
class SVCStacking(Stacker):
    """An RBF support vector machine whose posteriors are calibrated on held-out subjects.

    Args:
        C: The cost.
        gamma: The RBF width times the number of columns; a wide kernel resists sources that are mere noise.
        parts: Parts by subject for the calibration.
    """

    def __init__(self, C: float = 1.0, gamma: float = 0.1, parts: int = 5) -> None:
        self.C = C
        self.gamma = gamma
        self.parts = parts

    def estimator(self, columns: int, y: NDArray[np.int64], groups: Sequence[str] | None) -> Any:
        """Return it behind a scaler, with a sigmoid per class."""
        owners = np.arange(len(y)).astype(str) if groups is None else np.asarray(groups, dtype=str)
        splitter = StratifiedGroupKFold(
            max(2, min(self.parts, len(set(owners)))), shuffle=True, random_state=0
        )
        every = set(y.tolist())
        splits = [
            (a, b) for a, b in splitter.split(np.zeros(len(y)), y, owners) if set(y[a].tolist()) == every
        ]
        if sum(len(held) for _, held in splits) < len(y):
            raise FusionError("fusion: svc cannot calibrate: a class occurs with too few training subjects")
        machine = make_pipeline(StandardScaler(), SVC(C=self.C, gamma=self.gamma / columns, random_state=0))
        return CalibratedClassifierCV(machine, cv=splits, ensemble=False)
