"""Several features of one take side by side: cameras, or networks."""

from collections.abc import Sequence

import numpy as np

from affectstack import AffectstackError
from extractors import Features

_TOLERANCE = 0.5  # of a step


class JoinError(AffectstackError):
    """Features whose rows are not at the same times."""


def side_by_side(parts: Sequence[Features]) -> Features:
    """Join features of the same times, row by row, on the shortest of their grids.

    Args:
        parts: `[T_i, D_i]` each; row t of all of them is of the same time.

    Returns:
        `[min T, sum D]`, with the times of the first; a row is valid where it is in all of them.

    Raises:
        JoinError: If rows of the same number begin half a step or more apart, or one row is far longer.
    """
    rows = min(len(part.values) for part in parts)
    times = parts[0].intervals[:rows]
    step = float(np.diff(times[:, 0]).min()) if rows > 1 else float(times[0, 1] - times[0, 0])
    lengths = [float(part.intervals[0, 1] - part.intervals[0, 0]) for part in parts]
    if rows == 1 and min(lengths) < _TOLERANCE * max(lengths):
        raise JoinError(
            f"there is one row of {max(lengths):.2f} s, and rows of {min(lengths):.2f} s beside it"
        )
    for part in parts[1:]:
        apart = float(np.abs(part.intervals[:rows, 0] - times[:, 0]).max(initial=0.0))
        if apart >= _TOLERANCE * step:
            raise JoinError(
                f"rows of the same number begin up to {apart:.2f} s apart, at steps of {step:.2f} s"
            )
    return Features(
        np.concatenate([part.values[:rows] for part in parts], axis=1),
        times,
        np.logical_and.reduce([part.valid[:rows] for part in parts]),
        silent=all(part.silent for part in parts),
    )
