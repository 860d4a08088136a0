import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import face_makers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from affectstack import AffectstackError
from extractors import compiling
from extractors.contract import Clip, DecodeError, Features, MissingMediaError, Window
from extractors.efficientface import EfficientFace
from extractors.face_crops import FaceCrops
from extractors.faces import finding
from extractors.faces.crops import encode
from extractors.faces.embedding import FaceEmbedding
from extractors.faces.settings import FaceSettings
from extractors.hardware import cpp_compiler
from extractors.shared import Shared
from extractors.weights import Weights

MAIN = (160.0, 120.0, 100.0)
QUICK = FaceSettings(size=64)


class Colours(FaceEmbedding):
    """The mean of each colour that the network sees."""

    network = "efficientface"
    width = 3

    def build(self, weights: Weights) -> nn.Module:
        class Mean(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(()))

            def forward(self, seen: torch.Tensor) -> torch.Tensor:
                return seen.mean(dim=(2, 3)) * self.scale

        return Mean()


def window(*colour: int, side: int = 224) -> Window:
    return Window(np.full((side, side, 3), colour, np.uint8), 0.0, 0.2)


def test_the_network_sees_what_its_card_says() -> None:
    (row,) = Colours("random").embed([window(255, 51, 0)])
    np.testing.assert_allclose(row, [[0, 0.2, 1]], atol=1e-6)  # blue, green, red


def test_a_face_of_another_size_is_resized() -> None:
    (row,) = Colours("random").embed([window(255, 51, 0, side=64)])
    np.testing.assert_allclose(row, [[0, 0.2, 1]], atol=1e-6)


def test_frames_without_a_face_are_rows_of_zeros_that_the_network_never_sees() -> None:
    empty = Window(np.empty(0, np.uint8), 0.2, 0.4, valid=False)
    extractor = Colours("random")
    rows = extractor.embed([empty, window(51, 51, 51), empty])
    assert [r.any() for r in rows] == [False, True, False]
    np.testing.assert_allclose(rows[1], [[0.2] * 3], atol=1e-6)
    assert not extractor.embed([empty])[0].any()


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return Clip("a", video=face_makers.film(tmp_path / "a.mkv", [MAIN], [], [MAIN]))


def test_faces_found_anew_and_faces_from_the_store_give_the_same(clip: Clip) -> None:
    crops = FaceCrops(size=64)
    stored = Clip("a", stored=crops.extract(clip))
    anew, again = Colours("random", detect=QUICK), Colours("random", crops="faces")
    one, other = anew.extract(clip), again.extract(stored)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(one.intervals, other.intervals)
    assert one.valid.tolist() == other.valid.tolist() == [True, False, True]
    assert anew.tally(one) == {"frames": 3, "with_face": 2}


def test_it_reads_the_media_or_a_feature() -> None:
    anew, stored = Colours("random"), Colours("random", crops="faces")
    assert (anew.reads_media, anew.reads_feature) == (True, None)
    assert (stored.reads_media, stored.reads_feature) == (False, "faces")
    with pytest.raises(AffectstackError, match="crops and detect exclude each other"):
        Colours("random", crops="faces", detect=QUICK)


def test_a_clip_that_the_feature_lacks_fails() -> None:
    with pytest.raises(MissingMediaError, match="feature 'faces' does not hold this clip"):
        Colours("random", crops="faces").extract(Clip("a"))


def test_pictures_of_two_sizes_cost_the_clip() -> None:
    files = tuple(encode(Image.new("RGB", (s, s)), 95) for s in (64, 80))
    times = np.array([[0, 0.2], [0.2, 0.4]])
    stored = Features(np.zeros((2, 17), np.float32), times, np.ones(2, np.bool_), pictures=files)
    with pytest.raises(DecodeError, match="stored pictures of 64 and of 80 pixels in one clip"):
        Colours("random", crops="faces").extract(Clip("a", stored=stored))


def test_faces_are_found_once_for_all_who_look_for_them_alike(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = finding.find_faces
    monkeypatch.setattr(finding, "find_faces", lambda *args: asked.append(1) or real(*args))
    shared = replace(clip, shared=Shared())
    for detect in (QUICK, QUICK, FaceSettings(size=64, margin=0.2)):
        list(Colours("random", detect=detect).windows(shared))
    assert len(asked) == 2


def test_a_clip_without_any_face_keeps_its_rows() -> None:
    stored = Features(np.zeros((2, 17), np.float32), np.array([[0, 0.2], [0.2, 0.4]]), np.zeros(2, np.bool_))
    found = Colours("random", crops="faces").extract(Clip("a", stored=stored))
    assert found.values.shape == (2, 3)
    assert not found.valid.any()


def test_a_damaged_picture_costs_the_clip() -> None:
    stored = Features(
        np.zeros((1, 17), np.float32), np.array([[0, 0.2]]), np.ones(1, np.bool_), pictures=(b"no picture",)
    )
    with pytest.raises(DecodeError, match="a stored picture is no readable JPEG file"):
        Colours("random", crops="faces").extract(Clip("a", stored=stored))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fps", 0),
        ("smallest", 2),
        ("confidence", -1),
        ("gap", -1),
        ("margin", 3),
        ("size", 8),
        ("quality", 0),
    ],
)
def test_settings_out_of_range_are_named(key: str, value: Any) -> None:
    with pytest.raises(AffectstackError, match=f"faces: {key} {value}; expected"):
        FaceCrops(**{key: value})
    with pytest.raises(AffectstackError, match=f"efficientface: detect: {key} {value}; expected"):
        EfficientFace("random", detect=FaceSettings(**{key: value}))


@pytest.mark.parametrize("change", [{"fps": 2.0}, {"margin": 0.5}, {"align": False}, {"quality": 90}])
def test_how_faces_are_found_is_part_of_the_identity(change: dict[str, Any]) -> None:
    usual = EfficientFace("random", detect=FaceSettings()).identity()
    assert EfficientFace("random").identity() == usual
    assert EfficientFace("random", detect=FaceSettings(**change)).identity() != usual
    assert "detect" not in EfficientFace("random", crops="faces").identity()


def test_neither_network_travels_to_a_worker(clip: Clip) -> None:
    extractor = Colours("random", detect=QUICK)
    extractor.extract(clip)
    sent = extractor.__getstate__()
    assert sent["_detector"] is None
    assert sent["_model"] is None
    assert len(pickle.dumps(sent)) < 10_000


def test_windows_are_as_many_as_frames() -> None:
    extractor = Colours("random", detect=FaceSettings(fps=10))
    assert [extractor.windows_in(s) for s in (None, 0.05, 2.0)] == [1, 1, 20]


# Compiling

ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="a network on a GPU is not compiled")
WORTH = 40_000  # faces: 80 s against 2 ms for each


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that a network sees that was compiled by nobody."""
    sizes: list[int] = []

    def stand_in(network: Any, **options: Any) -> Any:
        def run(seen: torch.Tensor) -> Any:
            sizes.append(len(seen))
            return network(seen)

        return run

    monkeypatch.setattr(torch, "compile", stand_in)
    monkeypatch.setattr(compiling, "cpp_compiler", lambda: "g++")
    return sizes


@ON_CPU
def test_a_network_is_compiled_once_and_where_it_pays(batches: list[int]) -> None:
    network = Colours("random")
    assert network.speed_up(WORTH - 1) == ""
    assert not batches
    assert network.speed_up(WORTH) == f"compiled the network, which pays for itself over {WORTH} windows"
    assert network.speed_up(WORTH) == ""
    assert batches == [8]


@ON_CPU
def test_a_compiled_network_sees_batches_of_one_size(batches: list[int]) -> None:
    network, windows = Colours("random"), [window(i, 0, 0) for i in range(11)]
    plain = network.embed(windows[:8]) + network.embed(windows[8:])
    network.speed_up(WORTH)
    made = network.embed(windows[:8]) + network.embed(windows[8:])
    assert batches == [8, 8, 8]
    np.testing.assert_array_equal(made, plain)


@ON_CPU
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(cpp_compiler() is None, reason="no C++ compiler here")
def test_compiled_efficientface_is_the_same_function() -> None:
    rng = np.random.default_rng(0)
    faces = [Window(rng.integers(0, 256, (224, 224, 3), np.uint8), 0.0, 0.2) for _ in range(3)]
    network = EfficientFace("random")
    plain = np.concatenate(network.embed(faces))
    assert network.speed_up(WORTH).startswith("compiled the network")
    made = np.concatenate(network.embed(faces))
    assert not np.array_equal(made, plain)  # other sums, in another order
    np.testing.assert_allclose(made, plain, rtol=0, atol=9e-6 * np.abs(plain).max())
