from pathlib import Path

import numpy as np
import pytest
import torch

from extractors.contract import Window
from extractors.efficientface import EfficientFace
from extractors.faces.efficientface_trunk import Trunk
from extractors.weights import WeightsError


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Trunk().state_dict()


def saved(path: Path, state: dict[str, torch.Tensor]) -> str:
    """Write a checkpoint as its training script does."""
    wrapped = {f"module.{k}": v for k, v in state.items()}
    torch.save({"epoch": 1, "state_dict": wrapped}, path)
    return str(path)


def test_a_published_checkpoint_loads_without_its_classifier(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    classifier = {"fc.weight": torch.zeros(7, 1024), "fc.bias": torch.zeros(7)}
    extractor = EfficientFace(saved(tmp_path / "a.pth.tar", {**state, **classifier}))
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    (row,) = extractor.embed([Window(picture, 0.0, 0.2)])
    trunk = Trunk().eval()
    trunk.load_state_dict(state)
    seen = torch.from_numpy(picture[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        np.testing.assert_allclose(row, trunk(seen).numpy(), atol=1e-6)
    assert not extractor.untrained


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_every_other_key_must_fit(tmp_path: Path, state: dict[str, torch.Tensor], change: str) -> None:
    if change == "missing":
        del state["conv5.0.weight"]
    elif change == "unknown":
        state["head.weight"] = torch.zeros(3)
    else:
        state["conv5.0.weight"] = torch.zeros(1024, 464, 3, 3)
    path = saved(tmp_path / "a.pth.tar", state)
    with pytest.raises(WeightsError, match=r"does not fit efficientface: .*(conv5\.0\.weight|head\.weight)"):
        EfficientFace(path).prepare()


def test_no_weights_is_an_error_that_says_where_they_are() -> None:
    with pytest.raises(WeightsError, match=r"github\.com/zengqunzhao/EfficientFace"):
        EfficientFace().identity()


def test_the_batch_does_not_change_a_row() -> None:
    rng = np.random.default_rng(0)
    windows = [Window(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8), 0.0, 0.2) for _ in range(3)]
    extractor = EfficientFace("random")
    together = extractor.embed(windows)
    for row, window in zip(together, windows, strict=True):
        (alone,) = extractor.embed([window])
        np.testing.assert_allclose(row, alone, atol=3e-6 * np.abs(row).max())
