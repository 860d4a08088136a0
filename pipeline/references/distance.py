"""How far arrays are from those that other code gave."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from pipeline.references.figure import Figure

_TOLERANCE = 1e-4  # of the largest value


def distance(name: str, found: NDArray[np.float32] | None, expected: NDArray[np.float32] | None) -> Figure:
    """Return the largest difference as a share of the largest value; NaN, which fails, if one is None."""
    if found is None or expected is None:
        return Figure(name, float("nan"), 0.0, _TOLERANCE)
    if found.shape != expected.shape:
        return Figure(f"{name}: {found.shape} values of {expected.shape}", float("nan"), 0.0, _TOLERANCE)
    largest = max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
    return Figure(name, float(np.abs(found - expected).max()) / largest, 0.0, _TOLERANCE)


def read_arrays(path: Path, needed: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of an `.npz` file.

    Raises:
        AffectstackError: If it is none, or lacks one of those that are needed.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], dtype=np.float32) for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise AffectstackError(f"{path}: no arrays {', '.join(needed)} in it ({error})") from error
    if missing := [name for name in needed if name not in arrays]:
        raise AffectstackError(f"{path}: no array {missing[0]} in it; found {', '.join(arrays) or 'none'}")
    return arrays
