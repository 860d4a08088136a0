import pytest
import torch
from torch import nn

from extractors.filling import fill, unwrapped
from extractors.weights import WeightsError


@pytest.fixture
def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_every_key_is_used_and_every_parameter_filled(network: nn.Sequential) -> None:
    state = {k: torch.full_like(v, 2) for k, v in network.state_dict().items()}
    fill(network, state, "x.pyth")
    assert all((v == 2).all() for v in network.state_dict().values())


def test_counters_of_training_may_be_missing(network: nn.Sequential) -> None:
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    fill(network, state, "x.pyth")


@pytest.mark.parametrize(
    ("gone", "added", "found"),
    [
        ("0.bias", {}, r"1 missing \(0\.bias\); 0 unknown; 0 of another shape"),
        ("", {"head": torch.zeros(1)}, r"0 missing; 1 unknown \(head\); 0 of another shape"),
        ("", {"0.bias": torch.zeros(4)}, r"0 missing; 0 unknown; 1 of another shape \(0\.bias\)"),
        ("", {f"x{i}": torch.zeros(1) for i in range(5)}, r"0 missing; 5 unknown \(x0, x1, x2, …\)"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(
    network: nn.Sequential, gone: str, added: dict[str, torch.Tensor], found: str
) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = {k: torch.full_like(v, 2) for k, v in before.items() if k != gone} | added
    with pytest.raises(WeightsError, match=f"x.pyth: {found}.*; try y"):
        fill(network, state, "x.pyth", lambda: "; try y")
    assert all((v == before[k]).all() for k, v in network.state_dict().items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_are_taken_off(prefix: str) -> None:
    state = {f"{prefix}{k}": torch.zeros(1) for k in ("a", "b")}
    assert set(unwrapped(state)) == {"a", "b"}
    assert set(unwrapped({**state, "c": torch.zeros(1)})) == {*state, "c"}  # of a part it is no wrapper
