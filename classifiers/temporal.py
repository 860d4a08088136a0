"""Convolutions over the frames of a clip that do not see padding (katerynaCh, SYSTEMS 3.5)."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from classifiers.frames import FrameBatch


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics are those of valid positions alone."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return `[N, C, T]` normalised.

        Args:
            x: `[N, C, T]`.
            valid: `[N, T]` bool; None: all positions are valid.
        """
        if not self.training or valid is None or bool(valid.all()):
            # One position has no variance to learn from.
            alone = self.training and x.shape[0] * x.shape[2] < 2
            return self._known(x) if alone else super().forward(x)
        rows = x.transpose(1, 2)[valid]  # [M, C]
        normal = self._known(rows) if len(rows) < 2 else super().forward(rows)
        out = torch.zeros_like(x).transpose(1, 2)
        out[valid] = normal
        return out.transpose(1, 2)

    def _known(self, x: Tensor) -> Tensor:
        """Normalise by the running statistics."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class ConvBlock(nn.Module):
    """A convolution over three frames, batch normalisation, ReLU.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        shrinks: True: only whole windows count, and maxima of two neighbours follow, so that T becomes T - 3.
            False: T stays, zeros lie beyond both ends.
    """

    def __init__(self, inputs: int, outputs: int, shrinks: bool) -> None:
        super().__init__()
        self.shrinks = shrinks
        self.convolution = nn.Conv1d(inputs, outputs, 3, padding=0 if shrinks else 1)
        self.normalise = MaskedBatchNorm(outputs)

    def forward(self, batch: FrameBatch) -> FrameBatch:
        """Return `[N, T', outputs]` with zeros outside of the clips."""
        x = self.convolution(batch.values.transpose(1, 2))
        if not self.shrinks:
            x = self.normalise(x, batch.valid).relu()
            return _masked(x, batch.valid, batch.lengths)
        valid, lengths = _any_of(batch.valid, 3), batch.lengths - 2
        valid = valid & _real(valid, lengths)
        x = functional.max_pool1d(self.normalise(x, valid).relu(), 2, stride=1)
        valid, lengths = _any_of(valid, 2), lengths - 1
        return _masked(x, valid & _real(valid, lengths), lengths)


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
        if int(batch.lengths.min()) >= self.shortest:
            return batch
        lack = max(self.shortest - batch.values.shape[1], 0)
        values = functional.pad(batch.values, (0, 0, 0, lack))
        lengths = batch.lengths.clamp(min=self.shortest)
        added = torch.arange(values.shape[1], device=values.device) >= batch.lengths[:, None]
        valid = functional.pad(batch.valid, (0, lack)) | (added & _real(values[:, :, 0], lengths))
        return FrameBatch(values, valid, lengths)


def audio_stages(inputs: int) -> TemporalStages:
    """Return the stages of a voice: only whole windows, with maxima; 13 frames at least."""
    return TemporalStages(inputs, (64, 128, 256, 128), shrinks=True)


def visual_stages(inputs: int) -> TemporalStages:
    """Return the stages of a face: T stays."""
    return TemporalStages(inputs, (64, 64, 128, 128), shrinks=False)


def mean_over_time(batch: FrameBatch) -> Tensor:
    """Return `[N, D]`, the mean of the valid rows of each clip; 0 where there are none."""
    count = batch.valid.sum(dim=1, keepdim=True).clamp(min=1)
    mean: Tensor = (batch.values * batch.valid[:, :, None]).sum(dim=1) / count
    return mean


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


def _masked(x: Tensor, valid: Tensor, lengths: Tensor) -> FrameBatch:
    return FrameBatch(x.transpose(1, 2) * valid[:, :, None], valid, lengths)


def _real(like: Tensor, lengths: Tensor) -> Tensor:
    """Return `[N, T]`, False in the padding."""
    return torch.arange(like.shape[1], device=like.device) < lengths[:, None]


def _any_of(valid: Tensor, width: int) -> Tensor:
    """Return `[N, T - width + 1]`, True where any of so many neighbours is."""
    windows: Tensor = valid.unfold(1, width, 1)
    return windows.any(dim=2)
