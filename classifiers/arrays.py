"""What heads do to the arrays of a clip before a network sees them: refuse, scale, convert."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from classifiers.contract import HeadError, InputKind, Scale, make_scaler

Scaler: TypeAlias = StandardScaler | MinMaxScaler


def check_array(x: NDArray[Any], kind: InputKind, width: int, name: str) -> None:
    """Refuse what torch would take without a word.

    Args:
        x: `[D]` if static, `[T, D]` if a sequence.
        kind: Which of the two is expected.
        width: D.
        name: Of the clip, as the error calls it.

    Raises:
        HeadError: If the shape is another, there is no frame, or a value is no number.
    """
    if kind == "static":
        fits, expected = x.shape == (width,), f"[{width}]"
    else:
        fits, expected = x.ndim == 2 and len(x) > 0 and x.shape[1] == width, f"[T, {width}] with T > 0"
    if not fits:
        raise HeadError(f"{name} has features of shape {list(x.shape)}; expected {expected}")
    if not np.isfinite(x).all():
        raise HeadError(f"{name} has features that are NaN or infinite")


def fit_scaler(scale: Scale, arrays: Sequence[NDArray[Any]]) -> Scaler | None:
    """Return a scaler of the columns of `[D]` or `[T_i, D]`, of training clips alone; None scales nothing."""
    scaler = make_scaler(scale)
    return None if scaler is None else scaler.fit(np.concatenate([np.atleast_2d(x) for x in arrays]))


def scaled(scaler: Scaler | None, x: NDArray[Any]) -> NDArray[np.float32]:
    """Return `[D]` or `[T, D]`, scaled, in float32."""
    values = x if scaler is None else scaler.transform(np.atleast_2d(x)).reshape(x.shape)
    return np.asarray(values, dtype=np.float32)
