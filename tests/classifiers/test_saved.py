"""Heads that are networks, on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from classifiers import HeadError
from classifiers.arrays import fit_scaler, scaled
from classifiers.contract import Scale
from classifiers.saved import read_facts, read_weights, reading, scaler_facts, scaler_of, write_network

CLIPS = [np.random.default_rng(0).normal(5, 3, size=(6, 3)).astype(np.float32)]


@pytest.mark.parametrize("scale", ["none", "minmax", "standard"])
def test_scalers_go_round(scale: Scale) -> None:
    scaler = fit_scaler(scale, CLIPS)
    again = scaler_of(scaler_facts(scaler, scale), scale, 3)
    np.testing.assert_array_equal(scaled(again, CLIPS[0]), scaled(scaler, CLIPS[0]))


@pytest.mark.parametrize(
    ("scale", "facts", "message"),
    [
        ("standard", {"min_": [1, 1, 1], "scale_": [1, 1, 1]}, "holds"),
        ("standard", {"mean_": [1, 1, 1]}, "holds"),
        ("standard", {"mean_": [1, 1, 1], "scale_": [1, 1, 1], "clip": [1, 1, 1]}, "holds"),
        ("standard", None, "holds"),
        ("none", {"mean_": [1, 1, 1], "scale_": [1, 1, 1]}, "holds"),
        ("standard", {"mean_": [1, 1], "scale_": [1, 1, 1]}, "mean_ is of shape .2.; expected 3 numbers"),
        ("minmax", {"min_": [1, 1, 1], "scale_": [[1, 1, 1]]}, "scale_ is of shape"),
        ("minmax", {"min_": [1, 1, 1], "scale_": [1, 1, float("nan")]}, "scale_ is of shape"),
    ],
)
def test_scalers_that_do_not_fit_are_refused(scale: Scale, facts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scaler_of(facts, scale, 3)


def test_networks_go_round_and_come_back_ready_to_be_asked(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    write_network(tmp_path / "new" / "folder", {"a": [1]}, network)
    other = nn.Linear(3, 2).train()
    read_weights(tmp_path / "new" / "folder", other)
    torch.testing.assert_close(other.weight, network.weight, rtol=0, atol=0)
    assert not other.training
    assert read_facts(tmp_path / "new" / "folder") == {"a": [1]}


@pytest.mark.parametrize(
    "other", [nn.Linear(4, 2), nn.Linear(3, 2, bias=False), nn.Sequential(nn.Linear(3, 2))]
)
def test_weights_that_do_not_fit_are_refused(other: nn.Module, tmp_path: Path) -> None:
    write_network(tmp_path, {}, nn.Linear(3, 2))
    with pytest.raises(HeadError, match="not a saved thing"), reading(tmp_path, "thing"):
        read_weights(tmp_path, other)


@pytest.mark.parametrize(
    "error", [OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, HeadError]
)
def test_whatever_does_not_fit_is_said_of_the_folder(error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=r"not a saved thing \('?why") as caught, reading(tmp_path, "thing"):
        raise error("why")
    assert str(tmp_path) in str(caught.value)


def test_bugs_keep_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), reading(tmp_path, "thing"):
        1 / 0  # noqa: B018
