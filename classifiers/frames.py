"""Frames of clips on their way into a network: checked, scaled, padded to batches with masks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from classifiers.arrays import Scaler, check_array, scaled
from classifiers.branch_training import device
from classifiers.contract import Frames, HeadError


class FrameBatch(NamedTuple):
    """One input of a batch of clips.

    Attributes:
        values: `[N, T, D]`; zeros in rows that are not valid and in the padding.
        valid: `[N, T]` bool; rows that say something. Padding never does.
        lengths: `[N]` rows of each clip; what comes after them is padding.
    """

    values: Tensor
    valid: Tensor
    lengths: Tensor

    def of(self, rows: Tensor) -> "FrameBatch":
        """Return some of the clips."""
        return FrameBatch(*(x[rows] for x in self))


def check_frames(frames: Frames, width: int, name: str) -> None:
    """Refuse what a network would take without a word.

    Raises:
        HeadError: If shapes disagree, there is no row, times go back, or a valid row holds no number.
    """
    check_array(frames.values[frames.valid], "sequence", width, name)
    rows = len(frames.values)
    if frames.valid.shape != (rows,) or frames.times.shape != (rows, 2):
        raise HeadError(
            f"{name} has {rows} rows, {len(frames.times)} times and {len(frames.valid)} valid marks; "
            "expected one of each per row"
        )
    if (np.diff(frames.times[:, 0]) < 0).any():
        raise HeadError(f"{name} has times that go back; expected rows in the order of time")


def scaled_frames(scaler: Scaler | None, frames: Frames) -> Frames:
    """Return the same with scaled values, and zeros in rows that are not valid."""
    values = np.zeros(frames.values.shape, dtype=np.float32)
    values[frames.valid] = scaled(scaler, frames.values[frames.valid])
    return frames._replace(values=values)


def batched(clips: Sequence[Frames | None], width: int, stand_in: int) -> FrameBatch:
    """Return a batch, padded with zeros.

    Args:
        clips: The frames of each clip; None where a clip lacks this input.
        width: D.
        stand_in: Rows of zeros that stand in for what a clip lacks.
    """
    lengths = np.array([stand_in if c is None else len(c.values) for c in clips])
    values = np.zeros((len(clips), lengths.max(), width), dtype=np.float32)
    valid = np.zeros(values.shape[:2], dtype=np.bool_)
    for i, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
        valid[i, :length] = True if clip is None else clip.valid
        if clip is not None:
            values[i, :length] = clip.values
    return FrameBatch(*(torch.from_numpy(x).to(device()) for x in (values, valid, lengths)))
