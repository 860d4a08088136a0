"""Running networks: as their cards say, compiled where it pays, leaving what they are given alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_makers import difference, least_cosine, lively_weights, narrow, pictures

from extractors import compiling
from extractors.contract import Precision
from extractors.hardware import cpp_compiler, has_bf16
from extractors.networks import running as module
from extractors.networks.config import NetworkConfig
from extractors.networks.loading import build
from extractors.networks.running import Runner
from extractors.networks.zoo import ZOO, zoo_config
from extractors.weights import Weights, card

CARD = card("slowfast_8x8_r50")
NARROW = narrow("slowfast_8x8_r50", TRAIN_CROP_SIZE=32)
QUICK = 10  # a crop of 64 pixels leaves fewer positions to average over, so its errors are larger


def network(
    path: Path | None = None,
    crop: int = 32,
    precision: Precision = "fp32",
    config: NetworkConfig = NARROW,
    name: str = "slowfast_8x8_r50",
) -> Runner:
    return Runner(build(config, Weights(path=path), 0), config, crop, precision, card(name))


def test_the_pixels_that_it_is_given_stay_as_they_are() -> None:
    clips = pictures(1)
    before = clips.copy()
    network()(clips)
    np.testing.assert_array_equal(clips, before)


def test_pixels_are_normalised_by_the_configurations_own_mean_and_deviation() -> None:
    data = NARROW.DATA.model_copy(update={"MEAN": (0.5, 0.4, 0.3), "STD": (0.1, 0.2, 0.4)})
    made = network(config=NARROW.model_copy(update={"DATA": data}))
    found = made._normalised(np.full((1, 32, 2, 2, 3), 51, np.uint8))  # 0.2
    torch.testing.assert_close(found[0, :, 0, 0, 0], torch.tensor([-3.0, -1.0, -0.25]))


# What its card says


def batch_error(path: Path, name: str, config: NetworkConfig, crop: int, count: int) -> float:
    made = network(path, crop, config=config, name=name)
    clips = pictures(count, crop, config.DATA.NUM_FRAMES)
    alone = np.concatenate([made(clips[i : i + 1]) for i in range(count)])
    return max(difference(made(clips[:n]), alone[:n]) for n in range(2, count + 1))


def bf16_cosine(path: Path, name: str, config: NetworkConfig, crop: int, count: int) -> float:
    clips = pictures(count, crop, config.DATA.NUM_FRAMES)
    rows = [
        np.concatenate([made(clips[i : i + 1]) for i in range(count)])
        for made in (network(path, crop, p, config, name) for p in ("fp32", "bf16"))
    ]
    assert all(r.dtype == np.float32 and np.isfinite(r).all() for r in rows)
    return least_cosine(*rows)


CERTIFIED = [name for name in ZOO if card(name).allows_bf16]


@pytest.mark.parametrize("name", CERTIFIED)
def test_the_card_bounds_what_a_batch_and_bfloat16_change(name: str, tmp_path: Path) -> None:
    config, own = zoo_config(name), card(name)
    path = lively_weights(tmp_path / "w.safetensors", config)
    assert batch_error(path, name, config, 64, 3) <= QUICK * own.batch_tolerance
    assert 1 - bf16_cosine(path, name, config, 64, 1) <= QUICK * (1 - own.bf16_cosine)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CERTIFIED)
def test_the_card_is_what_is_measured_at_full_size(name: str, tmp_path: Path) -> None:
    """Where bfloat16 has no units of its own, a window takes a minute."""
    if name != "slowfast_8x8_r50" and not has_bf16():
        pytest.skip("no units for bfloat16 here: it would take minutes")
    config, own = zoo_config(name), card(name)
    path = lively_weights(tmp_path / "w.safetensors", config, own.size)
    batch = batch_error(path, name, config, own.size, 3)
    rounding = 1 - bf16_cosine(path, name, config, own.size, 2 if has_bf16() else 1)
    stored = 1 - own.bf16_cosine
    print(f"{name}: batch {batch:.2g} of {own.batch_tolerance:g}, 1 - cosine {rounding:.2g} of {stored:.2g}")
    assert batch <= own.batch_tolerance
    assert rounding <= stored <= 10 * rounding
    assert batch == 0 or own.batch_tolerance <= 10 * batch


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_the_card_says_how_much_work_a_window_is(name: str) -> None:
    from extractors.networks.counting import gflop

    assert gflop(zoo_config(name), card(name).size) == pytest.approx(card(name).gflop, abs=0.01)


# Compiling


class Compiled:
    """Stands in for `torch.compile`: remembers what it was given."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.options, self.runs = broken, [], 0

    def __call__(self, trunk: Any, **options: Any) -> Any:
        self.options.append(options)

        def run(*pathways: torch.Tensor) -> Any:
            self.runs += 1
            if self.broken:
                raise RuntimeError(self.broken)
            return trunk(*pathways)

        return run


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Compiled:
    stub = Compiled()
    monkeypatch.setattr(torch, "compile", stub)
    monkeypatch.setattr(compiling, "cpp_compiler", lambda: "g++")
    return stub


ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="a network on a GPU is not compiled")


@ON_CPU
@pytest.mark.parametrize(
    ("crop", "precision", "windows", "worth"),
    [
        (224, "fp32", 0, False),
        (224, "fp32", 1333, False),
        (224, "fp32", 1334, True),
        (224, "bf16", 3999, False),
        (224, "bf16", 4000, True),
        (112, "bf16", 15_999, False),
        (112, "bf16", 16_000, True),
    ],
)
def test_it_is_compiled_only_where_that_saves_twice_what_it_costs(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch, crop: int,
    precision: Precision, windows: int, worth: bool,
) -> None:  # fmt: skip
    """40 s against 0.06 or 0.02 s for each window of 224 pixels, and a quarter of that for half the side."""
    made = network(crop=32, precision=precision)
    made.crop = crop
    monkeypatch.setattr(Runner, "_features", lambda self, network, pixels: None)
    note = made.compile_for(windows)
    assert bool(compiled.options) is worth
    assert note == (f"compiled the network, which pays for itself over {windows} windows" if worth else "")


@ON_CPU
def test_it_is_compiled_once(compiled: Compiled) -> None:
    made = network()
    assert made.compile_for(10**6)
    assert made.compile_for(10**6) == ""
    assert len(compiled.options) == 1
    assert compiled.runs == 1  # the first run compiles, so a compiler that fails is found here


@ON_CPU
def test_without_a_compiler_it_says_so_and_runs_as_it_is(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "cpp_compiler", lambda: None)
    made, clips = network(), pictures(1)
    expected = made(clips)
    note = made.compile_for(10**6)
    assert note == "not compiled: no C++ compiler here (g++ or clang++); runs as it is, slower"
    assert made.compile_for(10**6) == ""  # once is enough
    np.testing.assert_array_equal(made(clips), expected)
    assert not compiled.options


@ON_CPU
def test_a_compiler_that_fails_costs_nothing_but_time(compiled: Compiled) -> None:
    compiled.broken = "Python.h: No such file\nand more"
    made, clips = network(), pictures(1)
    expected = made(clips)
    note = made.compile_for(10**6)
    assert note.startswith("not compiled: the C++ compiler failed (Python.h: No such file); runs as it is")
    np.testing.assert_array_equal(made(clips), expected)


def test_a_network_on_a_gpu_is_not_compiled(compiled: Compiled) -> None:
    made = network()
    made.device = torch.device("cuda")
    assert made.compile_for(10**6) == ""
    assert not compiled.options


@ON_CPU
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(cpp_compiler() is None, reason="no C++ compiler here")
def test_the_compiled_network_is_the_same_function(tmp_path: Path) -> None:
    config = zoo_config("slowfast_8x8_r50")
    path = lively_weights(tmp_path / "w.safetensors", config)
    made, clips = network(path, 64, config=config), pictures(3, 64)
    alone = np.concatenate([made(clips[i : i + 1]) for i in range(3)])
    plain = made.run
    assert made.compile_for(10**6).startswith("compiled the network")
    assert made.run is not plain
    again = np.concatenate([made(clips[i : i + 1]) for i in range(3)])
    assert difference(again, alone) <= QUICK * CARD.batch_tolerance


@ON_CPU
def test_a_network_whose_card_says_nothing_of_compiling_is_not_compiled(compiled: Compiled) -> None:
    made = network(name="x3d_m")
    assert made.compile_for(10**9) == ""
    assert not compiled.options


@ON_CPU
def test_the_network_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(module, "keep_freed_memory", lambda: calls.append(None))
    network()
    assert calls == [None]
