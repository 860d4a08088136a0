import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from speakers import write_encoder
from transformers import Wav2Vec2Model

from extractors.contract import Clip
from extractors.wav2vec2 import Wav2Vec2
from pipeline.files import WriteError
from pipeline.finetuning.network import SpeechClassifier, padded, save


def network(folder: Path, pool: Any = "mean", **changes: Any) -> SpeechClassifier:
    torch.manual_seed(1)
    encoder = Wav2Vec2Model.from_pretrained(write_encoder(folder / "encoder", **changes))
    return SpeechClassifier(encoder, 3, pool).eval()


def sounds() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=n).astype(np.float32) for n in (9000, 4000, 16000)]


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_padding_does_not_change_a_clip(tmp_path: Path, pool: str) -> None:
    model = network(tmp_path, pool)
    with torch.inference_mode():
        together = model(*padded(sounds()))
        alone = torch.cat([model(*padded([s])) for s in sounds()])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_published_pooling_lets_padding_in(tmp_path: Path) -> None:
    """What `mean-unmasked` is for: the same clip, another result in another batch."""
    model = network(tmp_path, "mean-unmasked")
    with torch.inference_mode():
        together = model(*padded(sounds()))
        alone = torch.cat([model(*padded([s])) for s in sounds()])
    assert np.abs(together[1] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(together[2], alone[2], atol=1e-5)  # the longest is not padded


def test_the_head_is_the_published_one(tmp_path: Path) -> None:
    """By hand: the mean of the last hidden states, linear, tanh, linear."""
    model = network(tmp_path)
    sound = torch.from_numpy(sounds()[0])[None]
    with torch.inference_mode():
        mean = model.encoder(sound).last_hidden_state.mean(dim=1)
        first, second = model.head[1], model.head[4]
        expected = torch.tanh(mean @ first.weight.T + first.bias) @ second.weight.T + second.bias
        np.testing.assert_allclose(model(*padded(sounds()[:1])), expected, atol=1e-6)
    assert model.head[0].p == model.encoder.config.final_dropout


def test_the_convolutions_alone_are_frozen(tmp_path: Path) -> None:
    frozen = {n for n, p in network(tmp_path).named_parameters() if not p.requires_grad}
    assert frozen
    assert {n.split(".")[1] for n in frozen} == {"feature_extractor"}


def test_what_is_saved_is_an_extractors_weights(tmp_path: Path) -> None:
    model = network(tmp_path)
    save(model, tmp_path / "out", 16000, True)
    rng = np.random.default_rng(2)
    import soundfile

    soundfile.write(tmp_path / "a.wav", 0.1 * rng.normal(size=8000), 16000)
    extractor = Wav2Vec2(str(tmp_path / "out/encoder"))
    (window,) = extractor.windows(Clip("a", audio=tmp_path / "a.wav"))
    (rows,) = extractor.embed([window])
    with torch.inference_mode():
        expected = model.encoder(torch.from_numpy(window.data)[None]).last_hidden_state.mean(dim=1)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    head = load_file(tmp_path / "out/head.safetensors")
    assert torch.equal(head["4.bias"], model.head[4].bias)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    model = network(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"cannot write .*out: .*"):
            save(model, tmp_path / "out", 16000, True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
