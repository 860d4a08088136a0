"""Loading: every key used, every parameter filled, or an error that says which."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_makers import as_fed, difference, narrow, pictures
from safetensors.torch import save_file

from extractors.networks.loading import build, fitting
from extractors.networks.zoo import zoo_config
from extractors.weights import Weights, WeightsError, load_state_dict

SMALL = narrow("slowfast_8x8_r50", TRAIN_CROP_SIZE=32)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """The state of a narrow SlowFast."""
    return dict(build(SMALL, Weights(), 5).model.state_dict())


def features(path: Path | None, seed: int = 0) -> np.ndarray:
    body = build(SMALL, Weights(path=path), seed)
    with torch.no_grad():
        return body.pool(body(body.pathways(as_fed(pictures(2))))).numpy()


def test_all_forms_of_a_checkpoint_load_equal(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model_state": state, "cfg": "MODEL: 1"}, tmp_path / "a.pyth")
    torch.save({"state_dict": state}, tmp_path / "b.pth")
    torch.save(state, tmp_path / "c.pt")
    save_file(state, tmp_path / "d.safetensors")
    torch.save({"model_state": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "e.pyth")
    torch.save({f"_orig_mod.{k}": v for k, v in state.items()}, tmp_path / "f.pt")
    counted = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_file(counted, tmp_path / "g.safetensors")  # as caffe2 has them
    found = [features(p) for p in sorted(tmp_path.iterdir())]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    assert difference(features(None), found[0]) > 1e-3


@pytest.mark.parametrize("suffix", ["pyth", "safetensors"])
def test_weights_that_do_not_fit_are_refused_with_every_list(
    state: dict[str, torch.Tensor], tmp_path: Path, suffix: str
) -> None:
    del state["head.projection.weight"], state["head.projection.bias"]
    state["s1.pathway0_stem.conv.weight"] = torch.zeros(1, 3, 1, 7, 7)
    state["ema.decay"] = torch.zeros(1)
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"model_state": state}, path)
    with pytest.raises(WeightsError) as caught:
        build(SMALL, Weights(path=path), 0)
    for part in (
        "does not fit slowfast of the configuration",
        "2 missing (head.projection.weight, head.projection.bias)",
        "1 unknown (ema.decay)", "1 of another shape (s1.pathway0_stem.conv.weight)",
    ):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "s5.pathway1_res2.branch2.c_bn.bias"}, "1 missing"),
        (lambda s: {**s, "extra": torch.zeros(1)}, "1 unknown (extra)"),
        (lambda s: {(f"module.{k}" if i else k): v for i, (k, v) in enumerate(s.items())}, "missing (s1."),
        (lambda s: {}, "0 unknown"),
    ],
    ids=["one missing", "one extra", "half prefixed", "empty"],
)
def test_one_wrong_key_is_enough(
    state: dict[str, torch.Tensor], tmp_path: Path, change: Any, part: str
) -> None:
    torch.save({"model_state": change(state)}, tmp_path / "w.pyth")
    with pytest.raises(WeightsError, match="does not fit") as caught:
        build(SMALL, Weights(path=tmp_path / "w.pyth"), 0)
    assert part in str(caught.value)


def test_weights_of_another_network_say_whose_they_are(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(build(zoo_config("x3d_xs"), Weights(), 0).model.state_dict(), path)
    for name in ("x3d_l", "mvit_v2_s"):
        with pytest.raises(
            WeightsError,
            match=rf"does not fit {name}: .*These are weights of x3d_xs or x3d_s or x3d_m: write",
        ):
            build(zoo_config(name), Weights(path=path), 0, name=name)


def test_a_named_network_may_have_been_trained_for_other_classes(tmp_path: Path) -> None:
    config = zoo_config("x3d_xs")
    model = config.MODEL.model_copy(update={"NUM_CLASSES": 7})
    state = build(config.model_copy(update={"MODEL": model}), Weights(), 0).model.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    body = build(config, Weights(path=tmp_path / "w.safetensors"), 0, name="x3d_xs")
    assert body.model.head.projection.out_features == 7
    with pytest.raises(WeightsError, match=r"2 of another shape \(head\.projection\.weight"):
        build(config, Weights(path=tmp_path / "w.safetensors"), 0)


def test_widths_say_which_network_weights_are_of() -> None:
    for name in ("slowfast_4x16_r50", "slow_8x8_r50", "x3d_l"):
        assert fitting(build(zoo_config(name), Weights(), 0).model.state_dict()) == [name]
    assert fitting({"a": torch.zeros(1)}) == []


class Payload:
    """Makes a folder when it is unpickled: the harmless form of an attack."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("modern", [True, False])
def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path: Path, modern: bool) -> None:
    path, canary = tmp_path / "w.pyth", tmp_path / "canary"
    torch.save({"model_state": {"a": Payload(canary)}}, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(WeightsError, match="refused, not a plain checkpoint of tensors"):
        build(SMALL, Weights(path=path), 0)
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the attack is real
    assert canary.exists()


def test_a_pickle_is_not_even_opened(tmp_path: Path) -> None:
    path = tmp_path / "SLOWFAST_8x8_R50.pkl"
    path.write_bytes(b"anything")
    with pytest.raises(WeightsError, match=r"never loaded as it is; run: .*convert_weights"):
        load_state_dict(path)


def test_building_a_network_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    build(SMALL, Weights(), 0)
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)
