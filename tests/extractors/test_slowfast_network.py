"""The SlowFast network: PySlowFast's own function, loaded whole or not at all, and what its card says."""

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_makers import (
    difference,
    enliven,
    least_cosine,
    lively_weights,
    narrow_config,
    narrow_networks,
    pictures,
    slow_of,
    some_windows,
)
from safetensors.torch import save_file
from torch import nn

from extractors import slowfast_network as module
from extractors.contract import Precision, Window
from extractors.hardware import cpp_compiler, has_bf16
from extractors.slowfast import SlowFast8x8R50
from extractors.slowfast_network import PairedFrames, SlowFastNetwork, build, fold_batch_norms, slow_frames
from extractors.weights import Weights, WeightsError, card

CARD = card("slowfast_8x8_r50")
QUICK = 10  # a crop of 64 pixels leaves fewer positions to average over, so its errors are larger
STAGES = ("s1", "s1_fuse", "s2", "s2_fuse", "pathway0_pool", "s3", "s3_fuse", "s4", "s4_fuse", "s5")


@pytest.fixture
def narrow() -> Iterator[dict[str, torch.Tensor]]:
    """Make every network narrow; give the state of one."""
    with narrow_networks():
        yield build(32, Weights(), 5).state_dict()


def network(path: Path | None = None, crop: int = 32, precision: Precision = "fp32") -> SlowFastNetwork:
    return SlowFastNetwork(crop, Weights(path=path), 0, precision)


# The function


def of_the_original(model: Any, clips: np.ndarray) -> np.ndarray:
    """Return what the unfolded model computes, stage by stage, pooled over all positions."""
    fast = (torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 255 - 0.45) / 0.225
    x = [fast[:, :, slow_of(32)], fast]
    with torch.inference_mode():
        for stage in STAGES:
            x = x if stage.endswith("pool") else getattr(model, stage)(x)
    return torch.cat([p.mean(dim=(2, 3, 4)) for p in x], dim=1).numpy()


@pytest.mark.parametrize("crop", [32, 48])
def test_the_feature_is_what_the_body_gives_before_the_head(tmp_path: Path, crop: int) -> None:
    path = lively_weights(tmp_path / "w.safetensors", crop)
    clips = pictures(2, crop)
    expected = of_the_original(build(crop, Weights(path=path), 0), clips)
    assert difference(network(path, crop)(clips), expected) < 1e-4


def test_the_head_pools_overlapping_parts_of_a_larger_picture(tmp_path: Path) -> None:
    """Of a picture larger than the crop it was built for, as PySlowFast's own head sees it."""
    path = lively_weights(tmp_path / "w.safetensors", 64)
    clips, seen = pictures(1, 96), []
    model = build(64, Weights(path=path), 0)
    model.head.projection.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    fast = (torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 255 - 0.45) / 0.225
    with torch.inference_mode():
        model([fast[:, :, slow_of(32)], fast])
    expected = seen[0].mean(dim=(1, 2, 3)).numpy()
    found = network(path, 64)(clips)
    assert difference(found, expected) < 1e-4
    assert difference(found, of_the_original(model, clips)) > 1e-2  # a plain mean is another function


def test_folding_leaves_no_normalisation_and_the_same_function() -> None:
    model = build(32, Weights(), 0)
    enliven(model, 32)
    clips = pictures(2)
    expected = of_the_original(model, clips)
    assert any(isinstance(m, nn.BatchNorm3d) for m in model.modules())
    fold_batch_norms(model)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in model.modules())
    assert difference(of_the_original(model, clips), expected) < 1e-4


def test_what_runs_is_folded() -> None:
    assert not any(isinstance(m, nn.BatchNorm3d) for m in network().trunk.modules())


@pytest.mark.parametrize("frames", [4, 8])
def test_two_frames_at_once_are_the_same_function(frames: int) -> None:
    conv = nn.Conv3d(3, 8, (5, 7, 7), (1, 2, 2), (2, 3, 3)).requires_grad_(False)
    x = torch.randn(2, 3, frames, 20, 24).contiguous(memory_format=torch.channels_last_3d)
    expected, found = conv(x), PairedFrames(conv)(x)
    assert found.shape == expected.shape == (2, 8, frames, 10, 12)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="measured on CPUs alone")
def test_the_first_layer_of_the_fast_pathway_makes_two_frames_at_once() -> None:
    assert [n for n, m in network().trunk.named_modules() if isinstance(m, PairedFrames)] == [
        "stages.0.pathway1_stem.conv"
    ]


def test_a_normalisation_without_a_convolution_before_it_stays() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.BatchNorm3d(2)
            self.conv = nn.Conv3d(2, 2, 1)
            self.act = nn.ReLU()
            self.last = nn.BatchNorm3d(2)

    odd = Odd()
    fold_batch_norms(odd.eval())
    assert isinstance(odd.first, nn.BatchNorm3d)
    assert isinstance(odd.last, nn.BatchNorm3d)


def test_the_slow_pathway_sees_eight_frames_from_the_first_to_the_last() -> None:
    assert slow_frames(32, 4).tolist() == slow_of(32)


def test_the_pixels_that_it_is_given_stay_as_they_are() -> None:
    clips = pictures(1)
    before = clips.copy()
    network()(clips)
    np.testing.assert_array_equal(clips, before)


def test_building_a_network_leaves_the_global_generators_alone(narrow: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    build(32, Weights(), 0)
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_building_a_network_leaves_the_generator_of_the_gpu_alone(narrow: dict[str, torch.Tensor]) -> None:
    torch.cuda.manual_seed(11)
    expected = torch.rand(4, device="cuda")
    torch.cuda.manual_seed(11)
    build(32, Weights(), 0)
    torch.testing.assert_close(torch.rand(4, device="cuda"), expected, rtol=0, atol=0)


# What its card says


def batch_error(path: Path, crop: int, count: int) -> float:
    made, clips = network(path, crop), pictures(count, crop)
    alone = np.concatenate([made(clips[i : i + 1]) for i in range(count)])
    return max(difference(made(clips[:n]), alone[:n]) for n in range(2, count + 1))


def bf16_cosine(path: Path, crop: int, count: int) -> float:
    clips = pictures(count, crop)
    rows = [
        np.concatenate([made(clips[i : i + 1]) for i in range(count)])
        for made in (network(path, crop), network(path, crop, "bf16"))
    ]
    assert all(r.dtype == np.float32 and np.isfinite(r).all() for r in rows)
    return least_cosine(*rows)


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lively_weights(tmp_path_factory.mktemp("lively") / "w.safetensors", 64)


def test_the_card_bounds_what_a_batch_changes(lively: Path) -> None:
    assert batch_error(lively, 64, 4) <= QUICK * CARD.batch_tolerance


def test_the_card_bounds_what_bfloat16_changes(lively: Path) -> None:
    assert 1 - bf16_cosine(lively, 64, 2) <= QUICK * (1 - CARD.bf16_cosine)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_card_is_what_is_measured_at_full_size(tmp_path: Path) -> None:
    """Where bfloat16 has no units of its own, a window takes a minute."""
    path = lively_weights(tmp_path / "w.safetensors", 224)
    batch = batch_error(path, 224, 3)
    rounding = 1 - bf16_cosine(path, 224, 2 if has_bf16() else 1)
    stored = 1 - CARD.bf16_cosine
    print(f"batch {batch:.2g} of {CARD.batch_tolerance:g}, 1 - cosine {rounding:.2g} of {stored:.2g}")
    assert batch <= CARD.batch_tolerance
    assert rounding <= stored <= 10 * rounding
    assert batch == 0 or CARD.batch_tolerance <= 10 * batch


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
    monkeypatch.setattr(module, "cpp_compiler", lambda: "g++")
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
    narrow: dict[str, torch.Tensor], compiled: Compiled, monkeypatch: pytest.MonkeyPatch, crop: int,
    precision: Precision, windows: int, worth: bool,
) -> None:  # fmt: skip
    """40 s against 0.06 or 0.02 s for each window of 224 pixels, and a quarter of that for half the side."""
    made = network(crop=32, precision=precision)
    made.crop = crop
    monkeypatch.setattr(SlowFastNetwork, "__call__", lambda self, pixels: None)
    note = made.compile_for(windows)
    assert bool(compiled.options) is worth
    assert note == (f"compiled the network, which pays for itself over {windows} windows" if worth else "")


@ON_CPU
def test_it_is_compiled_once(narrow: dict[str, torch.Tensor], compiled: Compiled) -> None:
    made = network()
    assert made.compile_for(10**6)
    assert made.compile_for(10**6) == ""
    assert len(compiled.options) == 1
    assert compiled.runs == 1  # the first run compiles, so a compiler that fails is found here


@ON_CPU
def test_without_a_compiler_it_says_so_and_runs_as_it_is(
    narrow: dict[str, torch.Tensor], compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "cpp_compiler", lambda: None)
    made, clips = network(), pictures(1)
    expected = made(clips)
    note = made.compile_for(10**6)
    assert note == "not compiled: no C++ compiler here (g++ or clang++); runs as it is, up to a tenth slower"
    assert made.compile_for(10**6) == ""  # once is enough
    np.testing.assert_array_equal(made(clips), expected)
    assert not compiled.options


@ON_CPU
def test_a_compiler_that_fails_costs_nothing_but_time(
    narrow: dict[str, torch.Tensor], compiled: Compiled
) -> None:
    compiled.broken = "Python.h: No such file\nand more"
    made, clips = network(), pictures(1)
    expected = made(clips)
    note = made.compile_for(10**6)
    assert note.startswith("not compiled: the C++ compiler failed (Python.h: No such file); runs as it is")
    np.testing.assert_array_equal(made(clips), expected)


def test_a_network_on_a_gpu_is_not_compiled(narrow: dict[str, torch.Tensor], compiled: Compiled) -> None:
    made = network()
    made.device = torch.device("cuda")
    assert made.compile_for(10**6) == ""
    assert not compiled.options


@ON_CPU
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(cpp_compiler() is None, reason="no C++ compiler here")
def test_the_compiled_network_is_the_same_function(lively: Path) -> None:
    made, clips = network(lively, 64), pictures(3, 64)
    alone = np.concatenate([made(clips[i : i + 1]) for i in range(3)])
    plain = made.trunk
    assert made.compile_for(10**6).startswith("compiled the network")
    assert made.trunk is not plain
    again = np.concatenate([made(clips[i : i + 1]) for i in range(3)])
    assert difference(again, alone) <= QUICK * CARD.batch_tolerance


# Weights


def load(path: Path) -> SlowFast8x8R50:
    extractor = SlowFast8x8R50(str(path), short_side=64, crop=32)
    extractor.prepare()
    return extractor


def test_all_forms_of_a_checkpoint_load_equal(narrow: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model_state": narrow, "cfg": "MODEL: 1"}, tmp_path / "a.pyth")
    torch.save({"state_dict": narrow}, tmp_path / "b.pth")
    torch.save(narrow, tmp_path / "c.pt")
    save_file(narrow, tmp_path / "d.safetensors")
    windows = some_windows(2)
    found = [np.concatenate(load(p).embed(windows)) for p in sorted(tmp_path.iterdir())]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    random = SlowFast8x8R50("random", short_side=64, crop=32)
    assert difference(np.concatenate(random.embed(windows)), found[0]) > 1e-3


@pytest.mark.parametrize("suffix", ["pyth", "safetensors"])
def test_weights_that_do_not_fit_are_refused_with_every_list(
    narrow: dict[str, torch.Tensor], tmp_path: Path, suffix: str
) -> None:
    state = dict(narrow)
    del state["head.projection.weight"], state["head.projection.bias"]
    state["s1.pathway0_stem.conv.weight"] = torch.zeros(1, 3, 1, 7, 7)
    state["ema.decay"] = torch.zeros(1)
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"model_state": state}, path)
    with pytest.raises(WeightsError) as caught:
        load(path)
    for part in (
        "does not fit slowfast_8x8_r50", "2 missing (head.projection.weight, head.projection.bias)",
        "1 unknown (ema.decay)", "1 of another shape (s1.pathway0_stem.conv.weight)",
    ):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "s5.pathway1_res2.branch2.c_bn.bias"}, "1 missing"),
        (lambda s: {**s, "extra": torch.zeros(1)}, "1 unknown (extra)"),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, "(module.s1.pathway0_stem.conv.weight, "),
        (lambda s: {}, "0 unknown"),
    ],
    ids=["one missing", "one extra", "prefixed", "empty"],
)
def test_one_wrong_key_is_enough(
    narrow: dict[str, torch.Tensor], tmp_path: Path, change: Any, part: str
) -> None:
    torch.save({"model_state": change(narrow)}, tmp_path / "w.pyth")
    with pytest.raises(WeightsError, match="does not fit") as caught:
        load(tmp_path / "w.pyth")
    assert part in str(caught.value)


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
        load(path)
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the attack is real
    assert canary.exists()


def test_a_caffe2_pickle_is_not_even_opened(tmp_path: Path) -> None:
    path, canary = tmp_path / "SLOWFAST_8x8_R50.pkl", tmp_path / "canary"
    path.write_bytes(pickle.dumps({"blobs": Payload(canary)}))
    with pytest.raises(WeightsError, match=r"unknown kind '\.pkl'; expected \.safetensors, \.pyth"):
        load(path)
    assert not canary.exists()


@pytest.mark.realdata
def test_our_network_has_the_parameters_of_the_model_zoo(real_data: Path) -> None:
    zoo = json.loads((real_data / "zoo_keys/SLOWFAST_8x8_R50.json").read_text())
    ours = {k: list(v.shape) for k, v in build(224, Weights(), 0).state_dict().items()}
    assert ours == zoo


@pytest.mark.realdata
def test_the_golden_vector_of_pyslowfast_comes_out(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by PySlowFast's own code for an eighth of the width and seven classes."""
    golden = real_data / "golden/slowfast_tiny"
    monkeypatch.setattr(module, "_config", lambda crop: [*narrow_config(crop), "MODEL.NUM_CLASSES", 7])
    extractor = SlowFast8x8R50(str(golden / "checkpoint.pyth"), short_side=64, crop=64)
    clip = torch.from_numpy(np.load(real_data / "golden/clip_uint8_THWC.npy")).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(clip, size=(64, 64), mode="bilinear", align_corners=False)
    (found,) = extractor.embed([Window(resized.permute(0, 2, 3, 1).numpy(), 0.0, 1.0)])
    assert difference(found, np.load(golden / "expected.npz")["features"]) < 1e-4


@pytest.mark.realdata
def test_the_golden_vector_of_pyslowfast_survives_bfloat16(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = real_data / "golden/slowfast_tiny"
    monkeypatch.setattr(module, "_config", lambda crop: [*narrow_config(crop), "MODEL.NUM_CLASSES", 7])
    pixels = np.load(real_data / "golden/clip_uint8_THWC.npy")[None, :, :64, :64]
    full, half = (network(golden / "checkpoint.pyth", 64, p)(pixels) for p in ("fp32", "bf16"))
    assert 1 - least_cosine(half, full) <= QUICK * (1 - CARD.bf16_cosine)


@pytest.mark.skipif(torch.cuda.is_available(), reason="memory of the CPU")
@pytest.mark.usefixtures("narrow")
def test_the_network_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(module, "keep_freed_memory", lambda: calls.append(None))
    network()
    assert calls == [None]
