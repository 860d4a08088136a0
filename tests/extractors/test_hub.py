import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from extractors.contract import Window
from extractors.hub import HubImageModel
from extractors.weights import WeightsError

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SEEN = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "do_normalize": True, "do_resize": True}


def vit() -> Any:
    return ViTModel(ViTConfig(image_size=32, patch_size=8, **SMALL))


def clip() -> Any:
    text = {**SMALL, "vocab_size": 10, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))


def resnet() -> Any:
    return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1]))


def convnext() -> Any:
    return ConvNextModel(ConvNextConfig(hidden_sizes=[8, 20], depths=[1, 1], num_stages=2))


MODELS = {
    "vit": (vit, 16, "ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "clip": (
        clip,
        12,
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    ),
    "resnet": (resnet, 24, "ConvNextImageProcessor", {"size": {"shortest_edge": 32}}),
    "convnext": (convnext, 20, "ConvNextImageProcessor", {"size": {"shortest_edge": 32}}),
}


def saved(folder: Path, name: str) -> str:
    make, _, processor, size = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make().save_pretrained(folder)
    asked = {"image_processor_type": processor, **SEEN, **size}
    (folder / "preprocessor_config.json").write_text(json.dumps(asked))
    return str(folder)


def window(side: int = 32) -> Window:
    return Window(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8), 0.0, 0.2)


@pytest.mark.parametrize("name", MODELS)
def test_any_image_model_gives_its_vector(tmp_path: Path, name: str) -> None:
    extractor = HubImageModel(saved(tmp_path, name))
    assert extractor.dim == MODELS[name][1]
    (row,) = extractor.embed([window()])
    assert row.shape == (1, extractor.dim)
    assert row.any()
    assert extractor.identity()["model"] == ("convnext" if name == "convnext" else name)
    assert extractor.gflop_per_window() > 0


def test_the_model_sees_what_its_preprocessor_says(tmp_path: Path) -> None:
    extractor = HubImageModel(saved(tmp_path, "vit"))
    assert (extractor.side, extractor.mean, extractor.std) == (32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    (row,) = extractor.embed([window()])
    model = ViTModel.from_pretrained(tmp_path).eval()
    pixels = torch.from_numpy(window().data).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(SEEN[k])[:, None, None] for k in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = model((pixels - mean) / std).pooler_output.numpy()
    np.testing.assert_allclose(row, expected, atol=1e-5)


def test_a_face_of_another_size_is_resized(tmp_path: Path) -> None:
    assert HubImageModel(saved(tmp_path, "vit")).embed([window(64)])[0].shape == (1, 16)


def test_parameters_that_are_missing_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, "vit")
    state = load_file(tmp_path / "model.safetensors")
    gone = sorted(state)[0]
    save_file({k: v for k, v in state.items() if k != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=f"1 parameters are missing or of another shape \\({gone}"):
        HubImageModel(path).prepare()


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot load"):
        _ = HubImageModel(str(tmp_path)).dim


@pytest.mark.parametrize("lost", ["image_mean", "image_std", "size"])
def test_a_preprocessor_that_says_too_little_is_refused(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = {**SEEN, "size": {"height": 32, "width": 32}, lost: None}
    monkeypatch.setattr(HubImageModel, "_from_pretrained", lambda *_: SimpleNamespace(to_dict=lambda: says))
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json does not say size, image_mean"):
        _ = HubImageModel(saved(tmp_path, "vit")).side


@pytest.mark.parametrize(
    "changed",
    [{"do_rescale": False}, {"rescale_factor": 0.5}, {"size": {"height": 5000, "width": 5000}}, {"size": 4}],
)
def test_pictures_that_a_model_would_not_get_are_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = saved(tmp_path, "vit")
    asked = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**asked, **changed}))
    with pytest.raises(WeightsError, match="expected 16 to 1024 pixels that are divided by 255"):
        _ = HubImageModel(path).side


def test_a_model_that_normalises_nothing_gets_pixels_in_0_to_1(tmp_path: Path) -> None:
    path = saved(tmp_path, "vit")
    asked = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**asked, "do_normalize": False}))
    extractor = HubImageModel(path)
    assert (extractor.mean, extractor.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_a_classifier_without_a_pooler_gives_the_average_of_its_last_layer(tmp_path: Path) -> None:
    config = ViTConfig(image_size=32, patch_size=8, **SMALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTForImageClassification(config).save_pretrained(tmp_path)
    asked = {"image_processor_type": "ViTImageProcessor", **SEEN, "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(asked))
    extractor = HubImageModel(str(tmp_path))
    assert (extractor.dim, extractor.identity()["pooled"]) == (16, False)
    (row,) = extractor.embed([window()])
    model = ViTForImageClassification.from_pretrained(tmp_path).eval()
    pixels = torch.from_numpy(window().data).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(SEEN[k])[:, None, None] for k in ("image_mean", "image_std"))
    with torch.no_grad():
        states = model((pixels - mean) / std, output_hidden_states=True).hidden_states[-1]
        expected = model.vit.layernorm(states).mean(dim=1).numpy()
    np.testing.assert_allclose(row, expected, atol=1e-5)
    assert HubImageModel("random").identity()["pooled"] is True


def test_code_that_comes_with_a_model_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, canary = saved(tmp_path, "vit"), tmp_path / "canary"
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "evil.Own", "AutoModel": "evil.OwnModel"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(
        f"open({str(canary)!r}, 'w').close()\nclass Own: pass\nclass OwnModel: pass\n"
    )
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # as somebody would who is asked
    with pytest.raises(WeightsError, match="cannot load"):
        _ = HubImageModel(path).dim
    assert not canary.exists()


@pytest.mark.parametrize("broken", [{"num_attention_heads": 0}, {"hidden_size": "abc"}, {"patch_size": 1000}])
def test_a_configuration_that_no_model_can_have_is_a_readable_error(
    tmp_path: Path, broken: dict[str, Any]
) -> None:
    path = saved(tmp_path, "vit")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **broken}))
    with pytest.raises(WeightsError, match=r"cannot load|no image model of transformers"):
        _ = HubImageModel(path).dim


def test_hub_ids_are_pinned() -> None:
    with pytest.raises(WeightsError, match="no pinned hub id"):
        HubImageModel("org/model").identity()
    with pytest.raises(WeightsError, match="40 hex digits of a commit"):
        HubImageModel("org/model@main").identity()
    with pytest.raises(WeightsError, match="cannot load org/model"):  # the hub is out of reach in tests
        HubImageModel("org/model@" + "a" * 40).prepare()


def test_random_weights_are_a_vit_and_say_so() -> None:
    extractor = HubImageModel("random")
    assert extractor.untrained
    assert (extractor.dim, extractor.side) == (768, 224)
    assert extractor.identity()["weights"] == "random"
