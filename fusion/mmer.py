"""The late fusion of Luna-Jimenez et al. 2022, doi 10.3390/app12010327 (SYSTEMS 2.8)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fusion.contract import Scale
from fusion.registry import FUSERS
from fusion.stacker import Stacker


@FUSERS.register("mmer")
class MMERFusion(Stacker):
    """What the models gave, logits or probabilities, side by side; scaled; logistic regression.

    The paper fits it on the models' own training rows: `stacking: in-sample`.

    Args:
        C: Inverse strength of the regularisation.
        scale: "minmax" (the paper), "standard" or "none".
    """

    raw: ClassVar[bool] = True

    def __init__(self, C: float = 1.0, scale: Scale = "minmax") -> None:
        self.C = C
        self.scale = scale

    def columns(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the columns as they are."""
        return P.reshape(len(P), -1)

    def estimator(self, columns: int, y: NDArray[np.int64], groups: Sequence[str] | None) -> Any:
        """Return it behind the scaler. The optimum depends on no seed and on no order of the rows."""
        scaler = {"minmax": MinMaxScaler(), "standard": StandardScaler(), "none": "passthrough"}[self.scale]
        return make_pipeline(scaler, LogisticRegression(C=self.C, max_iter=10000))
