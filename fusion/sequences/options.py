"""What heads on sequences have in common that takes no PyTorch to import."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Way = Literal["lt", "it", "ia"]
Dropout = Literal["softhard", "noise", "nodropout"]


def complete(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return `[N]`, which rows of `[N, K]` hold no NaN."""
    return np.asarray(~np.isnan(values).any(axis=1))
