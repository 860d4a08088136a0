from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from extractors.contract import Window
from extractors.efficientnet_b2 import EfficientNetB2
from extractors.weights import WeightsError


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network: torch.nn.Module = timm.create_model("tf_efficientnet_b2", num_classes=8)
        return network.eval()


def window() -> Window:
    return Window(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8), 0.0, 0.2)


def test_a_state_dict_with_its_classifier_gives_the_input_of_the_classifier(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    state = network.state_dict()
    # HSEmotion puts the classifier into a container.
    names = {"classifier.weight": "classifier.0.weight", "classifier.bias": "classifier.0.bias"}
    save_file({names.get(k, k): v for k, v in state.items()}, tmp_path / "a.safetensors")
    (row,) = EfficientNetB2(str(tmp_path / "a.safetensors")).embed([window()])
    assert row.shape == (1, 1408)
    pixels = torch.from_numpy(window().data).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        seen = (pixels - mean[:, None, None]) / std[:, None, None]
        expected = network.forward_head(network.forward_features(seen), pre_logits=True).numpy()
    np.testing.assert_allclose(row, expected, atol=1e-5 * np.abs(expected).max())


def test_another_network_is_refused(tmp_path: Path, network: torch.nn.Module) -> None:
    state = {k: v for k, v in network.state_dict().items() if k != "conv_head.weight"}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit efficientnet_b2: 1 missing \(conv_head.weight\)"):
        EfficientNetB2(str(tmp_path / "a.safetensors")).prepare()


def test_a_pickled_model_is_refused_and_not_run(tmp_path: Path, network: torch.nn.Module) -> None:
    torch.save(network, tmp_path / "enet_b2_8_best.pt")  # as HSEmotion publishes it
    with pytest.raises(WeightsError, match="refused, not a plain checkpoint of tensors"):
        EfficientNetB2(str(tmp_path / "enet_b2_8_best.pt")).prepare()


def test_no_weights_is_an_error_that_says_how_to_make_them() -> None:
    with pytest.raises(WeightsError, match=r"model\.state_dict\(\)"):
        EfficientNetB2().identity()
