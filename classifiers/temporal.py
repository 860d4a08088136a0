"""Convolutions over the frames of clips that know where each clip ends (katerynaCh, SYSTEMS 3.5)."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from classifiers.frames import FrameBatch
from classifiers.windows_of_rows import rectified_maxima, windows

_TAPS = 3


class RowConvolution(nn.Conv1d):
    """A convolution over three rows of one clip; its parameters are those of `nn.Conv1d`.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        shrinks: True: a clip of T rows has T - 2 then. False: T stays, zeros lie beyond both ends.
    """

    def __init__(self, inputs: int, outputs: int, shrinks: bool) -> None:
        super().__init__(inputs, outputs, _TAPS)
        self.shrinks = shrinks

    def forward(self, batch: FrameBatch) -> FrameBatch:  # type: ignore[override]  # rows, not a padded tensor
        """Return the batch convolved; a row is valid if any row that it is made of is."""
        x = batch.rows
        if self.shrinks:
            starts = starts_of(batch, _TAPS)
            taps = self.weight.transpose(1, 2).flatten(1)  # [outputs, 3 * inputs]
            rows = functional.linear(windows(x, starts, _TAPS), taps, self.bias)
            return FrameBatch(rows, _any_valid(batch, starts, _TAPS), batch.lengths - _TAPS + 1)
        before, here, after = self.weight.unbind(2)  # [outputs, inputs] each
        owners = batch.owners
        inside = (owners[:-1] == owners[1:])[:, None]
        rows = functional.linear(x, here, self.bias)
        rows = rows + functional.pad((x[:-1] * inside) @ before.T, (0, 0, 1, 0))
        rows = rows + functional.pad((x[1:] * inside) @ after.T, (0, 0, 0, 1))
        return FrameBatch(rows, batch.valid, batch.lengths)


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics are those of valid rows alone.

    The zeros that stand in for what a clip lacks are valid, as they are where this was published.
    """

    def forward(self, batch: FrameBatch) -> FrameBatch:  # type: ignore[override]  # rows, not a padded tensor
        """Return the batch normalised, with zeros in rows that are not valid."""
        if batch.valid.all():
            return batch._replace(rows=self._normalised(batch.rows))
        rows = torch.zeros_like(batch.rows)
        rows[batch.valid] = self._normalised(batch.rows[batch.valid])
        return batch._replace(rows=rows)

    def _normalised(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) < 2:  # one row has no variance to learn from
            return functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(rows)


class ConvBlock(nn.Module):
    """A convolution over three rows, batch normalisation, ReLU.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        shrinks: True: only whole windows count, and maxima of two neighbours follow, so that T becomes T - 3.
            False: T stays, zeros lie beyond both ends.
    """

    def __init__(self, inputs: int, outputs: int, shrinks: bool) -> None:
        super().__init__()
        self.convolution = RowConvolution(inputs, outputs, shrinks)
        self.normalise = RowNorm(outputs)

    def forward(self, batch: FrameBatch) -> FrameBatch:
        """Return `[M', outputs]` with zeros in rows that are not valid."""
        batch = self.normalise(self.convolution(batch))
        if self.convolution.shrinks:
            starts = starts_of(batch, 2)
            rows = rectified_maxima(batch.rows, starts)
            batch = FrameBatch(rows, _any_valid(batch, starts, 2), batch.lengths - 1)
        else:
            batch = batch._replace(rows=batch.rows.relu())
        if batch.valid.all():
            return batch
        return batch._replace(rows=batch.rows * batch.valid[:, None])


class TemporalStages(nn.Module):
    """Four blocks in two stages.

    Args:
        inputs: D of the frames.
        widths: Channels of each block.
        shrinks: See `ConvBlock`.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int], shrinks: bool) -> None:
        super().__init__()
        blocks = [ConvBlock(a, b, shrinks) for a, b in itertools.pairwise((inputs, *widths))]
        self.stage1, self.stage2 = nn.Sequential(*blocks[:2]), nn.Sequential(*blocks[2:])
        self.shortest = 1 + 3 * len(blocks) if shrinks else 1
        self.middle, self.width = widths[1], widths[3]

    def enough(self, batch: FrameBatch) -> FrameBatch:
        """Return clips that are too short for the stages with zeros at their ends, as if they were silent."""
        lack = (self.shortest - batch.lengths).clamp(min=0)
        if not lack.any():
            return batch
        lengths, ends = batch.lengths + lack, batch.lengths.cumsum(0)
        places = torch.arange(len(batch.rows), device=ends.device) + (lack.cumsum(0) - lack)[batch.owners]
        rows = batch.rows.new_zeros(int(lengths.sum()), batch.rows.shape[1])
        valid = batch.valid.new_ones(len(rows))
        return FrameBatch(
            rows.index_copy(0, places, batch.rows), valid.index_copy(0, places, batch.valid), lengths
        )


def audio_stages(inputs: int) -> TemporalStages:
    """Return the stages of a voice: only whole windows, with maxima; 13 frames at least."""
    return TemporalStages(inputs, (64, 128, 256, 128), shrinks=True)


def visual_stages(inputs: int) -> TemporalStages:
    """Return the stages of a face: T stays."""
    return TemporalStages(inputs, (64, 64, 128, 128), shrinks=False)


def starts_of(batch: FrameBatch, width: int) -> Tensor:
    """Return `[S]`, the rows at which so many rows of one clip begin."""
    owners = batch.owners
    starts: Tensor = (owners[: len(owners) - width + 1] == owners[width - 1 :]).nonzero().flatten()
    return starts


def _any_valid(batch: FrameBatch, starts: Tensor, width: int) -> Tensor:
    """Return `[S]` bool, whether any of so many rows from each start on is valid."""
    return torch.stack([batch.valid[starts + k] for k in range(width)]).any(dim=0)


def mean_over_time(batch: FrameBatch) -> Tensor:
    """Return `[N, D]`, the mean of the valid rows of each clip; 0 where there are none."""
    owners, valid = batch.owners, batch.valid.to(batch.rows.dtype)
    sums = batch.rows.new_zeros(len(batch.lengths), batch.rows.shape[1])
    sums = sums.index_add(0, owners, batch.rows * valid[:, None])
    counts = valid.new_zeros(len(batch.lengths)).index_add(0, owners, valid)
    return sums / counts.clamp(min=1)[:, None]


class TemporalClassifier(nn.Module):
    """The stages of one input, the mean over time, K logits.

    Args:
        stages: Of its frames.
        classes: K.
    """

    def __init__(self, stages: TemporalStages, classes: int) -> None:
        super().__init__()
        self.stages = stages
        self.out = nn.Linear(stages.width, classes)

    def forward(self, parts: list[FrameBatch]) -> Tensor:
        """Return `[N, K]` logits."""
        batch = self.stages.stage1(self.stages.enough(parts[0]))
        logits: Tensor = self.out(mean_over_time(self.stages.stage2(batch)))
        return logits
