"""Frames of clips on their way into a network: checked, scaled, joined to batches without padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from classifiers.arrays import Scaler, check_array, scaled
from classifiers.branch_training import device
from classifiers.contract import Frames, HeadError


class FrameBatch(NamedTuple):
    """One input of a batch of clips: the rows of all of them one after the other, so that none is padding.

    Attributes:
        rows: `[M, D]`; zeros in rows that are not valid.
        valid: `[M]` bool; rows that say something.
        lengths: `[N]` rows of each clip, which add up to M.
    """

    rows: Tensor
    valid: Tensor
    lengths: Tensor

    @property
    def owners(self) -> Tensor:
        """`[M]`, the place of each row's clip in the batch."""
        clips = torch.arange(len(self.lengths), device=self.lengths.device)
        return torch.repeat_interleave(clips, self.lengths, output_size=len(self.rows))

    def of(self, clips: Tensor) -> "FrameBatch":
        """Return some of the clips, in this order."""
        lengths = self.lengths[clips]
        starts = (self.lengths.cumsum(0) - self.lengths)[clips]
        rows = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
        rows = rows + torch.arange(len(rows), device=rows.device)
        return FrameBatch(self.rows[rows], self.valid[rows], lengths)

    def padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return `[N, T, D]` and valid `[N, T]`, padded with zeros, and `[M]` where the rows are."""
        longest = int(self.lengths.max())
        ends = self.lengths.cumsum(0)
        shift = torch.arange(len(self.lengths), device=ends.device) * longest - (ends - self.lengths)
        places = torch.arange(len(self.rows), device=ends.device) + shift[self.owners]
        shape = len(self.lengths) * longest
        values = self.rows.new_zeros(shape, self.rows.shape[1]).index_copy(0, places, self.rows)
        valid = self.valid.new_zeros(shape).index_copy(0, places, self.valid)
        return values.view(-1, longest, self.rows.shape[1]), valid.view(-1, longest), places


def check_frames(frames: Frames, width: int, name: str) -> None:
    """Refuse what a network would take without a word.

    Raises:
        HeadError: If shapes disagree, there is no row, times go back, or a valid row holds no number.
    """
    rows = len(frames.values)
    if frames.valid.shape != (rows,) or frames.times.shape != (rows, 2):
        raise HeadError(
            f"{name} has {rows} rows, {len(frames.times)} times and {len(frames.valid)} valid marks; "
            "expected one of each per row"
        )
    check_array(frames.values[frames.valid], "sequence", width, name)
    if (np.diff(frames.times[:, 0]) < 0).any():
        raise HeadError(f"{name} has times that go back; expected rows in the order of time")


def scaled_frames(scaler: Scaler | None, frames: Frames) -> Frames:
    """Return the same with scaled values, and zeros in rows that are not valid."""
    values = np.zeros(frames.values.shape, dtype=np.float32)
    values[frames.valid] = scaled(scaler, frames.values[frames.valid])
    return frames._replace(values=values)


def batched(clips: Sequence[Frames | None], width: int, stand_in: int) -> FrameBatch:
    """Return a batch.

    Args:
        clips: The frames of each clip; None where a clip lacks this input.
        width: D.
        stand_in: Rows of zeros that stand in for what a clip lacks.
    """
    nothing = np.zeros((stand_in, width), np.float32), np.ones(stand_in, np.bool_)
    parts = [nothing if c is None else (c.values, c.valid) for c in clips]
    arrays = (
        np.concatenate([values for values, _ in parts]),
        np.concatenate([valid for _, valid in parts]),
        np.array([len(values) for values, _ in parts]),
    )
    return FrameBatch(*(torch.from_numpy(x).to(device()) for x in arrays))
