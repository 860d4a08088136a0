"""One network for voice, face and both (VAVL, SYSTEMS 5.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from classifiers.frames import FrameBatch
from classifiers.temporal import mean_over_time
from fusion.sequences.conformer import ConformerLayer
from fusion.sequences.quick_dropout import QuickDropout


@dataclass(frozen=True)
class Shape:
    """How large the network is.

    Attributes:
        width: Of its rows.
        bottleneck: To which a feature is narrowed first.
        layers: Conformer layers of each input.
        shared_layers: Conformer layers that all inputs go through.
        heads: Of their attention.
        kernel: Of their convolutions.
        dropout: In the conformers.
        answer_dropout: In the perceptrons that answer.
    """

    width: int
    bottleneck: int
    layers: int
    shared_layers: int
    heads: int
    kernel: int
    dropout: float
    answer_dropout: float


class VersatileNetwork(nn.Module):
    """Conformers of each input, shared ones, and an answer for each input and for all of them.

    Args:
        widths: D of each input.
        outputs: K.
        shape: How large it is.
    """

    def __init__(self, widths: Sequence[int], outputs: int, shape: Shape) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(_encoder(width, shape) for width in widths)
        self.shared = nn.Sequential(*(_layer(shape) for _ in range(shape.shared_layers)))
        self.normalise = nn.LayerNorm(shape.width)
        W, half = shape.width, max(shape.width // 2, 1)
        self.answers = nn.ModuleList(_answer(W, W, half, outputs, shape.answer_dropout) for _ in widths)
        self.joint = _answer(len(widths) * W, W, half, outputs, shape.answer_dropout)
        self.reconstructions = nn.ModuleList(
            nn.Sequential(nn.Linear(W, W), nn.ReLU(), nn.Linear(W, half), nn.ReLU(), nn.Linear(half, width))
            for width in widths
        )

    def encode(self, place: int, batch: FrameBatch) -> Tensor:
        """Return `[N, width]`, the mean over time of what is made of one input."""
        own = self.encoders[place](batch)
        return mean_over_time(own._replace(rows=self.normalise(self.shared(own).rows + own.rows)))

    def parameters_of(self, place: int) -> list[nn.Parameter]:
        """Return what learns from one input: its own part, what is shared, its answer, its reconstruction."""
        parts = (
            self.encoders[place],
            self.shared,
            self.normalise,
            self.answers[place],
            self.reconstructions[place],
        )
        return [parameter for part in parts for parameter in part.parameters()]

    def together(self, encoded: Sequence[Tensor]) -> Tensor:
        """Return the answer `[N, K]` of all inputs, `[N, width]` each."""
        answer: Tensor = self.joint(torch.cat(list(encoded), dim=1))
        return answer


class _Narrowed(nn.Module):
    """A feature, narrowed and widened row by row."""

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, shape.bottleneck, bias=False),
            nn.Linear(shape.bottleneck, shape.width),
            QuickDropout(shape.dropout),
        )

    def forward(self, batch: FrameBatch) -> FrameBatch:
        return batch._replace(rows=self.layers(batch.rows))


def _encoder(inputs: int, shape: Shape) -> nn.Sequential:
    return nn.Sequential(_Narrowed(inputs, shape), *(_layer(shape) for _ in range(shape.layers)))


def _layer(shape: Shape) -> ConformerLayer:
    return ConformerLayer(shape.width, shape.heads, shape.kernel, shape.dropout)


def _answer(inputs: int, first: int, second: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, first),
        nn.ReLU(),
        QuickDropout(dropout),
        nn.Linear(first, second),
        nn.Linear(second, outputs),
    )
