"""Clip networks: windows at their times, what a clip becomes, and what its options mean."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_makers import read_number, shown, write_clip
from network_makers import difference, lively_weights, narrow, pictures, some_windows, write_config

from affectstack import AffectstackError
from extractors import EXTRACTORS
from extractors import clip_networks as module
from extractors.clip_networks import ClipNetwork, SlowFast8x8R50
from extractors.contract import Clip, TooShortError, Window, check_features
from extractors.networks.names import feature_names
from extractors.networks.zoo import ZOO, zoo_config
from extractors.video import Resize, sample_frames
from extractors.weights import Card, WeightsError

FPS = 30


@pytest.fixture(scope="module")
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
        at = [window.start + k * extractor.sampling_rate / extractor.fps for k in range(32)]
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
    whole = next(sample_frames(path, 1.0, resize=Resize(64))).image
    top, left = (whole.shape[0] - crop) // 2, (whole.shape[1] - crop) // 2
    np.testing.assert_array_equal(window.data[0], whole[top : top + crop, left : left + crop])


@pytest.mark.parametrize(("start", "end"), [(9.0, None), (9.0, 10.0), (1.0, 0.5)])
def test_a_part_outside_the_clip_is_too_short(tmp_path: Path, start: float, end: float | None) -> None:
    clip = Clip("a", video=clip_of(tmp_path, 60).video, start=start, end=end)
    with pytest.raises(TooShortError):
        list(small().windows(clip))


# Features


def test_the_feature_is_2048_of_the_slow_and_256_of_the_fast_pathway(extractor: SlowFast8x8R50) -> None:
    names = extractor.feature_names
    assert (len(names), names[0], names[2047], names[2048], names[-1]) == (
        2304, "slow0", "slow2047", "fast0", "fast255",
    )  # fmt: skip
    (rows,) = extractor.embed(some_windows(1))
    assert (rows.shape, rows.dtype) == ((1, 2304), np.float32)


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
    clip = clip_of(tmp_path, 170)
    windows = list(extractor.windows(clip))
    found = [r for i in range(0, len(windows), batch) for r in extractor.embed(windows[i : i + batch])]
    alone = extractor.extract(clip)
    together = extractor.assemble(list(zip(windows, found, strict=True)))
    assert difference(together.values, alone.values) < 1e-4
    np.testing.assert_array_equal(together.intervals, alone.intervals)


@pytest.mark.parametrize(("size", "count"), [(1, 5), (2, 5), (5, 5), (16, 5), (4, 0)])
def test_batches_are_as_large_as_the_device_takes(size: int, count: int) -> None:
    extractor = small()
    extractor.look_ahead = size
    found = list(extractor.batches(some_windows(count)))
    assert [i for batch in found for i in batch] == list(range(count))
    assert all(len(batch) == size for batch in found[:-1])


@pytest.mark.parametrize("frames", [1, 40, 64, 95, 128, 170, 230])
@pytest.mark.parametrize("stride", [32, 8])
def test_the_number_of_windows_is_foreseen(tmp_path: Path, frames: int, stride: int) -> None:
    extractor = small(stride=stride)
    expected = len(list(extractor.windows(clip_of(tmp_path, frames))))
    assert abs(extractor.windows_in(frames / FPS) - expected) <= 1
    assert extractor.windows_in(None) == 1


# Precision


def test_the_precision_is_part_of_the_identity() -> None:
    extractor = small()
    before = extractor.identity()
    extractor.precision = "bf16"
    assert {k for k, v in extractor.identity().items() if before[k] != v} == {"precision"}


@pytest.mark.parametrize(("cosine", "allowed"), [(0.0, False), (0.99, True)])
def test_bfloat16_is_allowed_where_the_card_holds_a_measurement(
    monkeypatch: pytest.MonkeyPatch, cosine: float, allowed: bool
) -> None:
    found = Card("net", "Net", "https://example.org", "weights/net", "MIT", bf16_cosine=cosine)
    monkeypatch.setattr(module, "card", lambda name: found)
    assert small().allows_bf16 is allowed


def test_features_in_bfloat16_are_finite_float32_and_differ(extractor: SlowFast8x8R50) -> None:
    half = SlowFast8x8R50("random", short_side=64, crop=32)
    half.precision = "bf16"
    (window,) = some_windows(1)
    (rows,), (expected,) = half.embed([window]), extractor.embed([window])
    assert (rows.dtype, rows.shape, np.isfinite(rows).all()) == (np.float32, (1, 2304), True)
    assert 0 < difference(rows, expected) < 0.05


def test_the_network_stays_behind_when_sent_to_another_process(extractor: SlowFast8x8R50) -> None:
    assert extractor._runners
    sent = pickle.dumps(extractor)
    assert len(sent) < 10_000
    assert not pickle.loads(sent)._runners
    assert extractor._runners


def test_speeding_up_asks_the_network(extractor: SlowFast8x8R50, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor._runners[0], "compile_for", lambda windows: f"for {windows}")
    assert extractor.speed_up(7) == "for 7"


def test_features_of_several_checkpoints_are_averaged(tmp_path: Path) -> None:
    config = narrow("x3d_xs")
    path = write_config(tmp_path / "own.yaml", config)
    files = [str(lively_weights(tmp_path / f"fold{i}.safetensors", config, 32, i)) for i in range(3)]

    def extractor(*chosen: str) -> ClipNetwork:
        weights = chosen[0] if len(chosen) == 1 else list(chosen)
        return EXTRACTORS["x3d_xs"](weights=weights, config=path, short_side=64, crop=32)  # type: ignore[call-arg, return-value]

    window = Window(pictures(1, 32, config.DATA.NUM_FRAMES)[0], 0.0, 1.0)
    alone = [extractor(file).embed([window])[0] for file in files]
    together = extractor(*files)
    np.testing.assert_allclose(together.embed([window])[0], np.mean(alone, axis=0), rtol=1e-5, atol=1e-7)
    assert len({row.tobytes() for row in alone}) == 3
    identity = together.identity()
    assert identity["weights"] == ["fold0.safetensors", "fold1.safetensors", "fold2.safetensors"]
    assert identity["weights_sha256"] == [extractor(f).identity()["weights_sha256"] for f in files]
    assert together.gflop_per_window() == pytest.approx(3 * extractor(files[0]).gflop_per_window())
    assert not together.untrained


@pytest.mark.parametrize("weights", [[], ["random"], ["a.pyth", "random"], ["a.pyth", "a.pyth"]])
def test_weights_that_cannot_be_averaged_are_refused(weights: list[str]) -> None:
    with pytest.raises(AffectstackError, match=r"weights \[.*expected a file, or different files"):
        SlowFast8x8R50(weights)


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
        {"segments": 0},
        {"triplet": 4},
        {"triplet": -3},
        {"crop": 300, "short_side": 256},
        {"crop": 16},
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(AffectstackError, match=r"^slowfast_8x8_r50: .*expected"):
        SlowFast8x8R50("random", **options)


def test_loaded_weights_are_not_called_untrained(tmp_path: Path) -> None:
    (tmp_path / "d.safetensors").write_bytes(b"never opened here")
    extractor = SlowFast8x8R50(str(tmp_path / "d.safetensors"), seed=3)
    identity = extractor.identity()
    assert not extractor.untrained
    assert "seed" not in identity
    assert len(identity["weights_sha256"]) == 64


@pytest.mark.parametrize("spec", [None, "weights/none.pyth", "some/thing@abc"])
def test_missing_weights_say_what_where_to_get_and_where_to_put(spec: str | None) -> None:
    extractor = SlowFast8x8R50(spec)
    for ask in (extractor.prepare, extractor.identity, lambda: extractor.untrained):
        with pytest.raises(WeightsError) as caught:
            ask()
        for part in (
            "SlowFast 8x8 R50, Kinetics-400", "https://dl.fbaipublicfiles.com/pyslowfast/", "Apache-2.0",
            "put it at weights/SLOWFAST_8x8_R50.safetensors", "weights: random",
        ):  # fmt: skip
            assert part in str(caught.value)


# Other windows, other networks


@pytest.mark.parametrize(
    ("frames", "at", "first"),
    [(128, "centre", 32), (128, "start", 0), (65, "centre", 0), (66, "centre", 1), (40, "centre", 0)],
)
def test_a_clip_has_one_window_around_its_middle_or_from_its_start(
    tmp_path: Path, frames: int, at: Any, first: int
) -> None:
    extractor = small(windows="clip", at=at)
    (window,) = extractor.windows(clip_of(tmp_path, frames))
    assert window.start == pytest.approx(first / 30, abs=1 / 30 + 1e-6)
    real = [read_number(p) for p in window.data]
    assert real == [min(real[0] + 2 * i, 2 * ((frames - 1 - real[0]) // 2) + real[0]) for i in range(32)]
    assert extractor.windows_in(frames / 30) == 1


def test_segments_are_equal_parts_each_with_a_window_in_its_middle(tmp_path: Path) -> None:
    extractor = small(windows="segments", segments=3, sampling_rate=1)
    found = list(extractor.windows(clip_of(tmp_path, 180)))
    assert [read_number(w.data[0]) for w in found] == [30 - 16, 90 - 16, 150 - 16]
    assert extractor.windows_in(6.0) == 3


def test_a_window_around_every_frame_is_centred_and_marked_where_it_is_filled_up(tmp_path: Path) -> None:
    extractor = small(windows="per-frame", stride=10, sampling_rate=1)
    found = list(extractor.windows(clip_of(tmp_path, 60)))
    assert len(found) == 6
    for i, window in enumerate(found):
        wanted = [min(max(10 * i - 16 + k, 0), 59) for k in range(32)]
        assert [read_number(p) for p in window.data] == wanted
        assert (window.start + window.end) / 2 == pytest.approx(10 * i / 30)
        assert window.valid is (sum(0 <= 10 * i - 16 + k < 60 for k in range(32)) >= 16)


def test_a_stride_between_the_frames_of_a_window_is_met(tmp_path: Path) -> None:
    found = list(small(stride=3).windows(clip_of(tmp_path, 80)))
    assert [read_number(w.data[0]) for w in found] == [0, 3, 6, 9, 12, 15]
    assert read_number(found[1].data[1]) == 5


def test_three_grey_frames_become_the_channels_of_one(tmp_path: Path) -> None:
    """On a ramp: frame t is as bright as t, so its channels are t, t + 3 and t + 6, held at the end."""
    ramp = [np.full((64, 64, 3), 3 * t, np.uint8) for t in range(40)]
    path = write_clip(tmp_path / "ramp.mkv", ramp, fps=25, codec="ffv1", pixels="bgr0")  # 40 ms: exact
    extractor = small(triplet=9, sampling_rate=1, windows="clip", at="start", fps=25.0)
    (window,) = extractor.windows(Clip("a", video=path))
    for t, picture in enumerate(window.data):
        expected = [3 * min(t + c, 39) for c in (0, 3, 6)]
        np.testing.assert_allclose(picture[20, 20], expected, atol=1)


def test_a_square_keeps_no_proportions_and_loses_no_picture(tmp_path: Path) -> None:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, :16] = 255  # the left eighth
    path = write_clip(tmp_path / "a.mkv", [picture] * 4, fps=FPS, codec="ffv1", pixels="bgr0")
    (window,) = small(crop=64, short_side=64, resize="square", interpolation="area").windows(
        Clip("a", video=path)
    )
    assert window.data[0][:, :7].mean() > 240
    assert window.data[0][:, 10:].mean() < 10


def test_colours_are_turned_round_where_the_configuration_says_so(tmp_path: Path) -> None:
    data = zoo_config("slowfast_8x8_r50").DATA.model_copy(update={"REVERSE_INPUT_CHANNEL": True})
    config = zoo_config("slowfast_8x8_r50").model_copy(update={"DATA": data})
    extractor = small(config=write_config(tmp_path / "c.yaml", config))
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    path = write_clip(tmp_path / "a.mkv", [red] * 4, fps=FPS, codec="ffv1", pixels="bgr0")
    (window,) = extractor.windows(Clip("a", video=path))
    assert window.data[0][10, 10].tolist() == [0, 0, 200]
    assert extractor.identity()["colour"] == "bgr"


@pytest.mark.parametrize("name", list(ZOO))
def test_every_network_makes_features_of_a_clip(name: str, tmp_path: Path) -> None:
    config = narrow(name, TRAIN_CROP_SIZE=64)
    own = write_config(tmp_path / "config.yaml", config)
    extractor = EXTRACTORS[name](weights="random", config=own, short_side=64)
    assert isinstance(extractor, ClipNetwork)
    found = extractor.extract(clip_of(tmp_path, 150))
    check_features(found, len(feature_names(config)))
    assert len(found.values) >= 1
    assert extractor.gflop_per_window() > 0


def test_an_own_configuration_is_part_of_the_identity(tmp_path: Path) -> None:
    config = zoo_config("x3d_m")
    own = EXTRACTORS["x3d_m"](weights="random", config=write_config(tmp_path / "c.yaml", config))
    before, after = EXTRACTORS["x3d_m"](weights="random").identity(), own.identity()
    assert {k for k in after if before.get(k) != after[k]} == {"config_sha256"}


def test_a_configuration_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", zoo_config("x3d_m"))
    with pytest.raises(AffectstackError, match=r"c\.yaml is a configuration of x3d, not of mvit; name an"):
        EXTRACTORS["mvit_v2_s"](weights="random", config=path)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["edge_videos/face_noface.mov", "grid_av/GRID/bbaf2n.mpg"])
def test_real_clips_become_features(real_data: Path, extractor: SlowFast8x8R50, name: str) -> None:
    found = extractor.extract(Clip("a", video=real_data / name))
    check_features(found, 2304)
    assert found.valid.all()
