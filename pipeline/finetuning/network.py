"""A speech encoder with a head of two layers (SYSTEMS 2.2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from affectstack import AffectstackError
from pipeline.files import WriteError

if TYPE_CHECKING:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

Pool = Literal["mean", "max", "mean-unmasked"]


class SpeechClassifier(nn.Module):
    """wav2vec 2.0, pooling over time, dropout, linear, tanh, dropout, linear.

    The convolutional encoder is frozen; the feature projection, the transformer and the head learn.

    Args:
        encoder: The encoder.
        classes: K.
        pool: "mean" or "max" over a clip's own frames; "mean-unmasked" averages the padding as well, as the
            published models do, so that a result depends on the batch that a clip meets.
    """

    def __init__(self, encoder: "Wav2Vec2Model", classes: int, pool: Pool) -> None:
        super().__init__()
        size, dropout = encoder.config.hidden_size, encoder.config.final_dropout
        encoder.freeze_feature_encoder()
        self.encoder = encoder
        self.pool = pool
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(size, size),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(size, classes),
        )

    def forward(self, sound: Tensor, lengths: Tensor) -> Tensor:
        """Classify padded sound.

        Args:
            sound: `[N, S]`, normalised per clip, padded with zeros on the right.
            lengths: `[N]` real samples.

        Returns:
            `[N, K]` logits.
        """
        places = torch.arange(sound.shape[1], device=sound.device)
        mask = (places < lengths[:, None]).long()
        masked = {} if self.encoder.config.feat_extract_norm == "group" else {"attention_mask": mask}
        states = self.encoder(sound, **masked).last_hidden_state
        if self.pool == "mean-unmasked":
            return self.head(states.mean(dim=1))
        frames: Any = self.encoder._get_feature_vector_attention_mask
        real = frames(states.shape[1], mask).bool()[:, :, None]
        if self.pool == "max":
            return self.head(states.masked_fill(~real, -torch.inf).amax(dim=1))
        return self.head((states * real).sum(dim=1) / real.sum(dim=1))


def padded(pieces: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Return `[N, S]` sound, padded with zeros, and `[N]` lengths."""
    lengths = torch.tensor([len(p) for p in pieces])
    sound = torch.zeros(len(pieces), int(lengths.max()))
    for row, piece in zip(sound, pieces, strict=True):
        row[: len(piece)] = torch.from_numpy(np.asarray(piece, dtype=np.float32))
    return sound, lengths


def save(network: SpeechClassifier, folder: Path, sampling_rate: int, normalises: bool) -> None:
    """Write the encoder as transformers does, ready to be an extractor's weights, and the head beside it.

    Raises:
        WriteError: If the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from transformers import Wav2Vec2FeatureExtractor
    from transformers.utils import logging

    logging.disable_progress_bar()
    encoder, head = folder / "encoder", {k: v.contiguous() for k, v in network.head.state_dict().items()}
    try:
        network.encoder.save_pretrained(encoder)
        Wav2Vec2FeatureExtractor(sampling_rate=sampling_rate, do_normalize=normalises).save_pretrained(
            encoder
        )
        save_file(head, folder / "head.safetensors")
    except (OSError, SafetensorError) as error:
        raise WriteError(f"cannot write {folder}: {error}") from error


def load(encoder: "Wav2Vec2Model", folder: Path, classes: int, pool: Pool) -> SpeechClassifier:
    """Return a network of which `save` wrote the head, ready to classify.

    Args:
        encoder: Its encoder, read from the same folder.
        folder: Where it was saved.
        classes: K.
        pool: As it was trained.

    Raises:
        AffectstackError: If the head is absent, damaged, or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = SpeechClassifier(encoder, classes, pool)
    path = folder / "head.safetensors"
    try:
        network.head.load_state_dict(load_file(path), strict=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise AffectstackError(f"{path}: not the head of a fine-tuned encoder ({reason})") from error
    return network.eval().requires_grad_(False)


def fewest_samples(config: "Wav2Vec2Config") -> int:
    """Return the fewest samples of which SpecAugment can mask a stretch; shorter pieces are left out."""
    samples = config.mask_time_length if config.apply_spec_augment else 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return int(samples)
