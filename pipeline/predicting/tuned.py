"""Fine-tuned encoders at work: the logits of every fold's network, as if they were features."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extractors.contract import Clip, FloatArray, TooShortError, Window, WindowExtractor
from extractors.wav2vec2 import Wav2Vec2
from pipeline.sections import FinetuneSpec

if TYPE_CHECKING:
    from pipeline.finetuning.network import SpeechClassifier


class TunedVoice(WindowExtractor):
    """One row per piece of sound: the logits of all folds side by side, `[1, folds * K]`.

    Args:
        folders: Of the checkpoints, one per fold; they differ in weights alone.
        classes: K.
        spec: How they were trained.
    """

    modality = "audio"

    def __init__(self, folders: Sequence[Path], classes: int, spec: FinetuneSpec) -> None:
        self._folders = list(folders)
        self._classes = classes
        self._spec = spec
        self._reader = Wav2Vec2(weights=str(self._folders[0] / "encoder"), chunk=spec.chunk)
        self.sound_rate = self._reader.sound_rate
        self._networks: list[SpeechClassifier] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the networks behind when sent to another process."""
        _ = self._fewest
        return {**self.__dict__, "_networks": []}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """By fold and class."""
        folds = range(len(self._folders))
        return tuple(f"logit{k}@fold{fold}" for fold in folds for k in range(self._classes))

    def identity(self) -> dict[str, Any]:
        """Nothing is stored."""
        return {}

    def windows(self, clip: Clip) -> Iterator[Window]:
        """Yield the pieces that training would have kept of a clip."""
        pieces = list(self._reader.windows(clip))
        if len(pieces[0].data) < self._fewest:
            raise TooShortError(f"{len(pieces[0].data)} samples; the fine-tuned encoder needs {self._fewest}")
        yield from (piece for piece in pieces if len(piece.data) >= self._fewest)

    def prepare(self) -> None:
        """Load the network of every fold."""
        from pipeline.finetuning.network import load

        if self._networks:
            return
        for folder in self._folders:
            reader = Wav2Vec2(weights=str(folder / "encoder"), chunk=self._spec.chunk)
            reader.prepare()
            self._networks.append(load(reader.network, folder, self._classes, self._spec.pool))

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return `[1, folds * K]` logits per window, each computed alone, as posteriors were."""
        import torch

        from pipeline.finetuning.network import padded

        self.prepare()
        rows = []
        with torch.inference_mode():
            for window in windows:
                sound, lengths = padded([window.data])
                own = [self._logits(network, sound, lengths) for network in self._networks]
                rows.append(np.concatenate(own)[None])
        return rows

    def _logits(self, network: "SpeechClassifier", sound: Any, lengths: Any) -> FloatArray:
        device = next(network.head.parameters()).device
        logits: FloatArray = network(sound.to(device), lengths.to(device)).float().cpu().numpy()[0]
        return logits

    @cached_property
    def _fewest(self) -> int:
        """The fewest samples of a piece; a decode worker must know them."""
        from pipeline.finetuning.network import fewest_samples

        return fewest_samples(self._reader.config)
