"""Networks for the tests: small ones, and ones whose random weights leave no layer out."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from extractors.contract import Window
from extractors.networks.body import Body
from extractors.networks.config import NetworkConfig, parse_config
from extractors.networks.loading import build
from extractors.networks.zoo import ZOO
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


def pictures(count: int, crop: int = 32, frames: int = 32) -> NDArray[np.uint8]:
    """Return `[count, frames, crop, crop, 3]` uint8: moving soft shapes; noise would average to grey."""
    dice = np.random.default_rng(0)
    coarse = dice.integers(0, 256, (count, 8, 4, 4, 3)).astype(np.float32)
    tensor = torch.from_numpy(coarse).permute(0, 4, 1, 2, 3)
    fine = nn.functional.interpolate(tensor, size=(frames, crop, crop), mode="trilinear", align_corners=False)
    return np.ascontiguousarray(fine.permute(0, 2, 3, 4, 1).numpy().astype(np.uint8))


def some_windows(count: int, crop: int = 32) -> list[Window]:
    return [Window(p, i * 1.0, i + 2.0) for i, p in enumerate(pictures(count, crop))]


def pieces(*lengths: int) -> list[Window]:
    """Return prepared sounds of so many samples."""
    dice = np.random.default_rng(0)
    return [Window(dice.normal(size=n).astype(np.float32), 0.0, n / RATE) for n in lengths]


def narrow(name: str, **data: int) -> NetworkConfig:
    """Return a network of the zoo made narrow, so that its files are small; for 7 classes."""
    document = {section: dict(values) for section, values in ZOO[name].items()}
    document["MODEL"]["NUM_CLASSES"] = 7
    document["DATA"] = {**document.get("DATA", {}), **data}
    if document["MODEL"]["ARCH"] == "x3d":
        document["X3D"] |= {"WIDTH_FACTOR": 1.0, "DEPTH_FACTOR": 1.0, "DIM_C5": 48, "DIM_C1": 8}
    elif document["MODEL"]["ARCH"] == "mvit":
        document["MVIT"] |= {"EMBED_DIM": 8}
    else:
        document["RESNET"] = {**document.get("RESNET", {}), "WIDTH_PER_GROUP": 8}
    return parse_config(document, name)


def write_config(path: Path, config: NetworkConfig) -> Path:
    """Write a configuration as PySlowFast would, as far as it is read here."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def enliven(body: Body, frames: int, crop: int, seed: int = 0) -> Body:
    """Give a network the statistics of a trained one.

    Fresh from its constructor the last normalisation of every block may be zero, so most of the network would
    add nothing to its output, and all others are the identity, so folding them would prove nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm3d | nn.LayerNorm)]
    for norm in norms:
        norm.weight.data = 0.5 + torch.rand(norm.weight.shape, generator=generator)
        norm.bias.data = 0.2 * torch.randn(norm.bias.shape, generator=generator)
        if isinstance(norm, nn.BatchNorm3d):
            norm.momentum = None  # the plain mean over all that is seen
            norm.train()
    with torch.no_grad():
        body.pool(body(body.pathways(as_fed(pictures(2, crop, frames)))))
    return body.eval()


def as_fed(clips: NDArray[np.uint8]) -> torch.Tensor:
    """Return `[N, 3, T, H, W]` of `[N, T, H, W, 3]` pixels, normalised as the model zoo does."""
    return (torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 255 - 0.45) / 0.225


def slow_of(frames: int) -> list[int]:
    """Return eight of 32 frames, spread from the first to the last, as PySlowFast trains it."""
    assert frames == 32
    return [0, 4, 8, 13, 17, 22, 26, 31]


def lively_weights(path: Path, config: NetworkConfig, crop: int = 64, seed: int = 0) -> Path:
    """Write weights in which every layer matters."""
    body = enliven(build(config, Weights(), seed), config.DATA.NUM_FRAMES, crop, seed)
    save_file(body.model.state_dict(), path)
    return path


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
