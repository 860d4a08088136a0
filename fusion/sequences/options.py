"""What heads on sequences have in common that takes no PyTorch to import."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from classifiers.contract import HeadError

Way = Literal["lt", "it", "ia"]
Dropout = Literal["softhard", "noise", "nodropout"]
Selection = Literal["loss", "recall"]


def complete(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return `[N]`, which rows of `[N, K]` hold no NaN."""
    return np.asarray(~np.isnan(values).any(axis=1))


def known(name: str, value: Any, kind: Any) -> None:
    """Refuse a name that is not one of a kind's.

    Raises:
        HeadError: Naming those that are.
    """
    if value not in get_args(kind):
        raise HeadError(f"{name} is {value!r}; expected one of {', '.join(get_args(kind))}")
