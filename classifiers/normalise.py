"""What happens to features between the store and a head."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pool_mean(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Return the mean `[D]` of the valid rows of `[T, D]`, or None where no row is valid."""
    if not valid.any():
        return None
    return values[valid].mean(axis=0, dtype=np.float64).astype(np.float32)


def normalise_by_subject(
    clips: Sequence[NDArray[np.float32]], subjects: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Z-score every feature over all rows of the subject it belongs to.

    Uses no labels, but the other clips of the same subject: *transductive* for a test subject.

    Args:
        clips: N arrays, `[D]` or `[T_i, D]`.
        subjects: `[N]` subjects.

    Returns:
        N arrays of the same shapes. A feature that is constant within a subject becomes 0.
    """
    owners = np.asarray(subjects)
    out: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(clips)
    for subject in dict.fromkeys(subjects):
        rows = np.flatnonzero(owners == subject).tolist()
        stacked = np.concatenate([np.atleast_2d(clips[i]) for i in rows]).astype(np.float64)
        mean, deviation = stacked.mean(axis=0), stacked.std(axis=0)
        # A constant feature leaves rounding noise behind, which must not be blown up to unit variance.
        constant = deviation <= 1e-9 * np.abs(mean)
        deviation[constant] = np.inf
        for i in rows:
            out[i] = ((clips[i] - mean) / deviation).astype(np.float32)
    return out
