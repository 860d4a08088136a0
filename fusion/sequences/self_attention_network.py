"""Three ways in which a voice and a face attend to each other (katerynaCh, SYSTEMS 3.5 and 3.6)."""

from typing import Any

import torch
from torch import Tensor, nn

from classifiers.frames import FrameBatch
from classifiers.temporal import audio_stages, mean_over_time, visual_stages
from fusion.sequences.attention import CrossAttention, CrossBlock
from fusion.sequences.options import Way


class SelfAttentionNetwork(nn.Module):
    """Stages of both sequences, attention between them, means over time, K logits.

    Args:
        audio: Width of the frames of the sound.
        visual: Width of the frames of the picture.
        classes: K.
        way: "lt", late transformers: blocks after both stages. "it", intermediate transformers: blocks after
            the first stages, added to what they attend from. "ia", intermediate attention: after the first
            stages each frame is weighed by how much the other sequence attends to it.
        heads: Of the attention.
    """

    audio_attends: Any  # a CrossAttention ("ia") or a CrossBlock
    visual_attends: Any

    def __init__(self, audio: int, visual: int, classes: int, way: Way = "ia", heads: int = 1) -> None:
        super().__init__()
        self.way = way
        self.audio, self.visual = audio_stages(audio), visual_stages(visual)
        late = way == "lt"
        a, v = (s.width if late else s.middle for s in (self.audio, self.visual))
        kind: type[CrossAttention | CrossBlock] = CrossAttention if way == "ia" else CrossBlock
        self.audio_attends, self.visual_attends = kind(v, a, heads), kind(a, v, heads)
        self.out = nn.Linear(self.audio.width + self.visual.width, classes)

    def forward(self, parts: list[FrameBatch]) -> Tensor:
        """Return `[N, K]` logits of frames of sound and picture."""
        audio, visual = parts
        a = self.audio.stage1(self.audio.enough(audio))
        v = self.visual.stage1(self.visual.enough(visual))
        if self.way == "lt":
            a, v = self.audio.stage2(a), self.visual.stage2(v)
            a, v = self._attended(a, v)
        else:
            a, v = self._weighed(a, v) if self.way == "ia" else self._added(a, v)
            a, v = self.audio.stage2(a), self.visual.stage2(v)
        logits: Tensor = self.out(torch.cat([mean_over_time(a), mean_over_time(v)], dim=1))
        return logits

    def frame_weights(self, a: FrameBatch, v: FrameBatch) -> tuple[Tensor, Tensor]:
        """Return how much is attended to each row of both, `[Ma]` and `[Mv]` ("ia").

        Of a clip, the weights of the picture's rows sum to the number of rows of its sound, and the other
        way round.
        """
        (x, x_valid, x_places), (y, y_valid, y_places) = a.padded(), v.padded()
        on_visual = self.audio_attends.weights(y, x, y_valid) * x_valid[:, :, None]
        on_audio = self.visual_attends.weights(x, y, x_valid) * y_valid[:, :, None]
        return on_audio.sum(dim=1).flatten()[x_places], on_visual.sum(dim=1).flatten()[y_places]

    def _weighed(self, a: FrameBatch, v: FrameBatch) -> tuple[FrameBatch, FrameBatch]:
        of_a, of_v = self.frame_weights(a, v)
        return a._replace(rows=a.rows * of_a[:, None]), v._replace(rows=v.rows * of_v[:, None])

    def _attended(self, a: FrameBatch, v: FrameBatch) -> tuple[FrameBatch, FrameBatch]:
        (x, x_valid, x_places), (y, y_valid, y_places) = a.padded(), v.padded()
        of_a = self.audio_attends(y, x, y_valid).flatten(0, 1)[x_places] * a.valid[:, None]
        of_v = self.visual_attends(x, y, x_valid).flatten(0, 1)[y_places] * v.valid[:, None]
        return a._replace(rows=of_a), v._replace(rows=of_v)

    def _added(self, a: FrameBatch, v: FrameBatch) -> tuple[FrameBatch, FrameBatch]:
        of_a, of_v = self._attended(a, v)
        return a._replace(rows=a.rows + of_a.rows), v._replace(rows=v.rows + of_v.rows)
