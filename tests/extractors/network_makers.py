"""Networks for the tests: small ones, and ones whose random weights leave no layer out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from extractors import slowfast_network
from extractors.contract import Window
from extractors.weights import Weights

RATE = 16000
LAYERS = 3  # of the tiny wav2vec2


def difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the largest difference relative to the largest value."""
    assert one.shape == other.shape
    return float(np.abs(one - other).max() / np.abs(other).max())


def least_cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the cosine of the two rows of `[N, D]` that differ most in direction."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())


def pictures(count: int, crop: int = 32) -> NDArray[np.uint8]:
    """Return `[count, 32, crop, crop, 3]` uint8: soft shapes that move, not noise, which averages to grey."""
    dice = np.random.default_rng(0)
    coarse = dice.integers(0, 256, (count, 8, 4, 4, 3)).astype(np.float32)
    tensor = torch.from_numpy(coarse).permute(0, 4, 1, 2, 3)
    fine = nn.functional.interpolate(tensor, size=(32, crop, crop), mode="trilinear", align_corners=False)
    return np.ascontiguousarray(fine.permute(0, 2, 3, 4, 1).numpy().astype(np.uint8))


def some_windows(count: int, crop: int = 32) -> list[Window]:
    return [Window(p, i * 1.0, i + 2.0) for i, p in enumerate(pictures(count, crop))]


def pieces(*lengths: int) -> list[Window]:
    """Return prepared sounds of so many samples."""
    dice = np.random.default_rng(0)
    return [Window(dice.normal(size=n).astype(np.float32), 0.0, n / RATE) for n in lengths]


def enliven(model: Any, crop: int, seed: int = 0) -> None:
    """Give a SlowFast the statistics of a trained one.

    Fresh from its constructor the last normalisation of every block is zero, so most of the network would
    add nothing to its output, and all others are the identity, so folding them would prove nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm3d)]
    for norm in norms:
        norm.weight.data = 0.5 + torch.rand(norm.weight.shape, generator=generator)
        norm.bias.data = 0.2 * torch.randn(norm.bias.shape, generator=generator)
        norm.momentum = None  # the plain mean over all that is seen
        norm.train()
    clip = torch.from_numpy(pictures(2, crop)).permute(0, 4, 1, 2, 3).float()
    fast = (clip / 255 - 0.45) / 0.225
    with torch.no_grad():
        slowfast_network.Trunk(model)(fast[:, :, slow_of(32)], fast)
    for norm in norms:
        norm.eval()


def slow_of(frames: int) -> list[int]:
    """Return eight of 32 frames, spread from the first to the last, as PySlowFast trains it."""
    assert frames == 32
    return [0, 4, 8, 13, 17, 22, 26, 31]


def lively_weights(path: Path, crop: int = 32, seed: int = 0) -> Path:
    """Write weights in which every layer matters."""
    model = slowfast_network.build(crop, Weights(), seed)
    enliven(model, crop, seed)
    save_file(model.state_dict(), path)
    return path


def narrow_config(crop: int, config: Any = slowfast_network._config) -> list[Any]:
    """Return the configuration of a SlowFast of an eighth of the width: its files are small."""
    return [*config(crop), "RESNET.WIDTH_PER_GROUP", 8]


@contextmanager
def narrow_networks() -> Iterator[None]:
    """Make every SlowFast that is built inside narrow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slowfast_network, "_config", narrow_config)
        yield


def tiny_wav2vec2(folder: Path, norm: str, normalises: bool = True) -> Path:
    """Write a tiny network for speech recognition with the usual convolutions, as the hub holds it."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,) * 7, conv_bias=norm == "layer", feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer", num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        vocab_size=8,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=normalises).save_pretrained(folder)
    return folder
