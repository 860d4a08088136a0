import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from affectstack import AffectstackError
from extractors.networks.loading import build
from extractors.networks.zoo import zoo_config
from extractors.weights import Weights
from pipeline.convert_weights import app


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_checkpoint_becomes_safetensors_and_says_whose_it_is(tmp_path: Path) -> None:
    state = build(zoo_config("x3d_xs"), Weights(), 1).model.state_dict()
    torch.save({"model_state": state, "epoch": 3}, tmp_path / "a.pyth")
    said = run(tmp_path / "a.pyth")
    assert "these are weights of x3d_xs or x3d_s or x3d_m; next" in said
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[k], state[k]) for k in state)
    with pytest.raises(AffectstackError, match="is there already; give another --out, or --force"):
        run(tmp_path / "a.pyth")
    run(tmp_path / "a.pyth", "--force")
    with pytest.raises(AffectstackError, match="is safetensors already"):
        run(tmp_path / "a.safetensors")
    with pytest.raises(AffectstackError, match="expected a name that ends with"):
        run(tmp_path / "a.pyth", "--out", tmp_path / "b.pt")


def test_a_caffe2_pickle_becomes_safetensors(tmp_path: Path) -> None:
    blobs = {
        "conv1_w": np.ones((2, 3, 1, 7, 7), np.float32),
        "res_conv1_bn_riv": np.ones(2, np.float32),
        "lr": 0.1,
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": blobs}, 2))
    assert "of no network of the zoo" in run(tmp_path / "a.pkl")
    assert set(load_file(tmp_path / "a.safetensors")) == {
        "s1.pathway0_stem.conv.weight", "s1.pathway0_stem.bn.running_var",
    }  # fmt: skip


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": {"fpn_w": np.ones(2)}}, 2))
    with pytest.raises(AffectstackError, match=r"1 parameters that no network here has \(fpn_w\)"):
        run(tmp_path / "a.pkl")
    assert not (tmp_path / "a.safetensors").exists()
