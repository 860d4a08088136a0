"""SlowFast: windows at their times, the documented feature, weights loaded whole or not at all."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_makers import read_number, shown, write_clip
from safetensors.torch import save_file

from affectstack import AffectstackError
from extractors import slowfast as module
from extractors.contract import Clip, TooShortError, Window, check_features
from extractors.slowfast import SlowFast8x8R50
from extractors.video import sample_frames
from extractors.weights import WeightsError

FPS = 30


@pytest.fixture(scope="session")
def extractor() -> SlowFast8x8R50:
    """Random weights, 32 x 32 pixels."""
    made = SlowFast8x8R50("random", short_side=64, crop=32)
    made.prepare()
    return made


def small(**options: Any) -> SlowFast8x8R50:
    """Return an extractor whose windows hold whole painted frames; it is never asked to embed."""
    return SlowFast8x8R50("random", **{"short_side": 64, "crop": 64, **options})


def clip_of(folder: Path, frames: int, **options: Any) -> Clip:
    return Clip("a", video=write_clip(folder / "clip.mp4", frames, fps=FPS, **options))


def some_windows(count: int, crop: int = 32) -> list[Window]:
    dice = np.random.default_rng(0)
    pictures = dice.integers(0, 256, (count, 32, crop, crop, 3), dtype=np.uint8)
    return [Window(p, i * 1.0, i + 2.0) for i, p in enumerate(pictures)]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference relative to the largest value."""
    return float(np.abs(one - other).max() / np.abs(other).max())


# Windows


@pytest.mark.parametrize(
    ("frames", "windows"),  # 30 fps, every second frame: a window is 64 frames, a stride 32
    [(62, 1), (63, 1), (64, 1), (94, 1), (95, 2), (96, 2), (127, 3), (128, 3), (160, 4), (230, 6)],
)
def test_windows_slide_by_the_stride_over_the_clip(tmp_path: Path, frames: int, windows: int) -> None:
    found = list(small().windows(clip_of(tmp_path, frames)))
    assert len(found) == windows
    assert [w.start for w in found] == pytest.approx([i * 32 / 30 for i in range(windows)])
    assert [w.end - w.start for w in found] == pytest.approx([64 / 30] * windows)
    assert {w.data.shape for w in found} == {(32, 64, 64, 3)}
    assert {w.data.dtype.str for w in found} == {"|u1"}


@pytest.mark.parametrize(
    ("options", "frames"),
    [({}, 160), ({"stride": 8}, 96), ({"sampling_rate": 1, "stride": 5}, 60), ({"sampling_rate": 4}, 200),
     ({"fps": 15.0, "stride": 16}, 200), ({"fps": 25.0}, 130), ({"fps": 60.0, "sampling_rate": 2}, 60)],
)  # fmt: skip
def test_every_window_holds_the_frames_at_its_own_times(
    tmp_path: Path, options: dict[str, Any], frames: int
) -> None:
    extractor = small(**options)
    found = list(extractor.windows(clip_of(tmp_path, frames)))
    assert len(found) > 1
    starts = [i / FPS for i in range(frames)]
    for i, window in enumerate(found):
        assert window.start == pytest.approx(i * extractor.stride / extractor.fps)
        at = [window.start + k * extractor.step for k in range(32)]
        assert [read_number(p) for p in window.data] == [shown(starts, t) for t in at]
        assert window.valid


def test_start_and_end_choose_the_part(tmp_path: Path) -> None:
    clip = clip_of(tmp_path, 200)
    part = Clip("a", video=clip.video, start=1.0, end=1.0 + 96 / 30)
    found = list(small().windows(part))
    assert [w.start for w in found] == pytest.approx([1.0, 1.0 + 32 / 30])
    assert read_number(found[0].data[0]) == 30
    assert read_number(found[-1].data[-1]) == 30 + 32 + 62


@pytest.mark.parametrize(
    ("frames", "min_fill", "valid"),
    [(1, 0.5, False), (30, 0.5, False), (31, 0.5, True), (40, 0.5, True), (40, 0.7, False), (1, 0.0, True),
     (62, 1.0, False), (63, 1.0, True)],
)  # fmt: skip
def test_a_short_clip_is_filled_by_its_last_frame_and_valid_if_enough_is_real(
    tmp_path: Path, frames: int, min_fill: float, valid: bool
) -> None:
    (window,) = small(min_fill=min_fill).windows(clip_of(tmp_path, frames))
    real = -(-frames // 2)
    assert [read_number(p) for p in window.data] == [2 * min(i, real - 1) for i in range(32)]
    assert window.valid is valid
    assert (window.start, window.end) == pytest.approx((0, 64 / 30))


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (97, 64), (130, 66)])
@pytest.mark.parametrize("crop", [32, 33, 48, 64])
def test_the_crop_is_the_centre_of_the_resized_picture(
    tmp_path: Path, size: tuple[int, int], crop: int
) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (4, size[1], size[0], 3), dtype=np.uint8))
    path = write_clip(tmp_path / "clip.mkv", pictures, fps=FPS, codec="ffv1", pixels="bgr0")
    (window,) = small(crop=crop).windows(Clip("a", video=path))
    whole = next(sample_frames(path, 1.0, short_side=64)).image
    top, left = (whole.shape[0] - crop) // 2, (whole.shape[1] - crop) // 2
    np.testing.assert_array_equal(window.data[0], whole[top : top + crop, left : left + crop])


@pytest.mark.parametrize(("start", "end"), [(9.0, None), (9.0, 10.0), (1.0, 0.5)])
def test_a_part_outside_the_clip_is_too_short(tmp_path: Path, start: float, end: float | None) -> None:
    clip = Clip("a", video=clip_of(tmp_path, 60).video, start=start, end=end)
    with pytest.raises(TooShortError):
        list(small().windows(clip))


# The network


def test_the_feature_is_2048_of_the_slow_and_256_of_the_fast_pathway(extractor: SlowFast8x8R50) -> None:
    names = extractor.feature_names
    assert (len(names), names[0], names[2047], names[2048], names[-1]) == (
        2304, "slow0", "slow2047", "fast0", "fast255",
    )  # fmt: skip
    (rows,) = extractor.embed(some_windows(1))
    assert (rows.shape, rows.dtype) == ((1, 2304), np.float32)


@pytest.mark.parametrize("crop", [32, 48])
def test_the_feature_is_what_the_body_gives_before_the_head(extractor: SlowFast8x8R50, crop: int) -> None:
    if crop != extractor.crop:
        extractor = SlowFast8x8R50("random", short_side=64, crop=crop)
        extractor.prepare()
    windows = some_windows(2, crop)
    model: Any = extractor._model
    device = next(model.parameters()).device
    pixels = torch.tensor(np.stack([w.data for w in windows]), device=device).permute(0, 4, 1, 2, 3)
    fast = (pixels / 255 - 0.45) / 0.225
    slow = fast[:, :, [0, 4, 8, 13, 17, 22, 26, 31]]  # eight of 32, spread from the first to the last
    with torch.inference_mode():
        x = [slow, fast]
        for stage in (
            "s1",
            "s1_fuse",
            "s2",
            "s2_fuse",
            "pathway0_pool",
            "s3",
            "s3_fuse",
            "s4",
            "s4_fuse",
            "s5",
        ):
            x = x if stage.endswith("pool") else getattr(model, stage)(x)
        expected = torch.cat([p.mean(dim=(2, 3, 4)) for p in x], dim=1).cpu().numpy()
    found = np.concatenate(extractor.embed(windows))
    assert difference(found, expected) < 1e-4


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_a_window_has_the_same_feature_in_any_batch(extractor: SlowFast8x8R50, batch: int) -> None:
    windows = some_windows(5)
    alone = np.concatenate([extractor.embed([w])[0] for w in windows])
    together = np.concatenate(
        [r for i in range(0, 5, batch) for r in extractor.embed(windows[i : i + batch])]
    )
    assert difference(together, alone) < 1e-4


def test_different_windows_have_different_features(extractor: SlowFast8x8R50) -> None:
    one, other = extractor.embed(some_windows(2))
    assert difference(one, other) > 1e-3


def test_a_clip_becomes_features_that_keep_the_contract(extractor: SlowFast8x8R50, tmp_path: Path) -> None:
    clip = clip_of(tmp_path, 130)
    found = extractor.extract(clip)
    check_features(found, 2304)
    np.testing.assert_allclose(found.intervals[:, 0], [0, 32 / 30, 64 / 30])
    np.testing.assert_array_equal(extractor.extract(clip).values, found.values)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_the_batch_changes_no_clip(tmp_path: Path, batch: int, extractor: SlowFast8x8R50) -> None:
    other = SlowFast8x8R50("random", short_side=64, crop=32)
    other._model, other._pooled, other.batch = extractor._model, extractor._pooled, batch
    clip = clip_of(tmp_path, 170)
    assert difference(other.extract(clip).values, extractor.extract(clip).values) < 1e-4


def test_random_weights_are_those_of_their_seed(extractor: SlowFast8x8R50) -> None:
    again, other = (SlowFast8x8R50("random", short_side=64, crop=32, seed=s) for s in (0, 1))
    windows = some_windows(1)
    torch.rand(3)  # wherever the global generator stands
    np.testing.assert_array_equal(again.embed(windows)[0], extractor.embed(windows)[0])
    assert difference(other.embed(windows)[0], extractor.embed(windows)[0]) > 1e-3


def test_random_weights_admit_it(extractor: SlowFast8x8R50) -> None:
    assert extractor.untrained
    assert extractor.identity()["weights"] == "random"


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0},
        {"fps": -1.0},
        {"sampling_rate": 0},
        {"stride": 0},
        {"stride": 3},
        {"crop": 300},
        {"crop": 16},
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(AffectstackError, match=r"^slowfast: .*expected"):
        SlowFast8x8R50("random", **options)


# Weights


def narrow_config(crop: int, config: Any = module._config) -> list[Any]:
    """Return the configuration of a network of an eighth of the width: its files are small."""
    return [*config(crop), "RESNET.WIDTH_PER_GROUP", 8]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Make every network narrow; return the state of one."""
    monkeypatch.setattr(module, "_config", narrow_config)
    return module._build(32, module.Weights(), 5).state_dict()


def load(path: Path) -> SlowFast8x8R50:
    extractor = SlowFast8x8R50(str(path), short_side=64, crop=32)
    extractor.prepare()
    return extractor


def test_building_a_network_leaves_the_global_generators_alone(narrow: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    module._build(32, module.Weights(), 0)
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_building_a_network_leaves_the_generator_of_the_gpu_alone(narrow: dict[str, torch.Tensor]) -> None:
    torch.cuda.manual_seed(11)
    expected = torch.rand(4, device="cuda")
    torch.cuda.manual_seed(11)
    module._build(32, module.Weights(), 0)
    torch.testing.assert_close(torch.rand(4, device="cuda"), expected, rtol=0, atol=0)


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


def test_loaded_weights_are_not_called_untrained(narrow: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(narrow, tmp_path / "d.safetensors")
    extractor = SlowFast8x8R50(str(tmp_path / "d.safetensors"), seed=3)
    identity = extractor.identity()
    assert not extractor.untrained
    assert "seed" not in identity
    assert len(identity["weights_sha256"]) == 64


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


@pytest.mark.parametrize("spec", [None, "weights/none.pyth", "some/thing@abc"])
def test_missing_weights_say_what_where_to_get_and_where_to_put(spec: str | None) -> None:
    extractor = SlowFast8x8R50(spec)
    for ask in (extractor.prepare, extractor.identity, lambda: extractor.untrained):
        with pytest.raises(WeightsError) as caught:
            ask()
        for part in (
            "SlowFast 8x8 R50, Kinetics-400", "https://dl.fbaipublicfiles.com/pyslowfast/", "Apache-2.0",
            "put it at weights/SLOWFAST_8x8_R50.pyth", "weights: random",
        ):  # fmt: skip
            assert part in str(caught.value)


@pytest.mark.realdata
def test_our_network_has_the_parameters_of_the_model_zoo(real_data: Path, extractor: SlowFast8x8R50) -> None:
    zoo = json.loads((real_data / "zoo_keys/SLOWFAST_8x8_R50.json").read_text())
    ours = {k: list(v.shape) for k, v in extractor._model.state_dict().items()}  # type: ignore[union-attr]
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
@pytest.mark.parametrize("name", ["edge_videos/face_noface.mov", "grid_av/GRID/bbaf2n.mpg"])
def test_real_clips_become_features(real_data: Path, extractor: SlowFast8x8R50, name: str) -> None:
    found = extractor.extract(Clip("a", video=real_data / name))
    check_features(found, 2304)
    assert found.valid.all()
