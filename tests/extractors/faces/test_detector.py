import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import face_makers
import numpy as np
import pytest

from extractors.faces import detector
from extractors.faces.detector import Detection, Detector, detector_sha256, working_side
from extractors.faces.tracks import overlap
from extractors.weights import WeightsError


@pytest.fixture(scope="module")
def found() -> Detector:
    return Detector(0.9)


def test_a_face_is_found_where_it_is(found: Detector) -> None:
    ((face,),) = found([face_makers.draw((160, 120, 100))], 20)
    assert overlap(face.box, np.array([120.0, 66.0, 202.0, 178.0])) > 0.8
    assert face.confidence > 0.9
    np.testing.assert_allclose(
        face.points, [[141, 108], [179, 108], [160, 130], [145, 150], [175, 150]], atol=6
    )


def test_faces_come_largest_first(found: Detector) -> None:
    ((large, small),) = found([face_makers.draw((70, 120, 60), (230, 120, 110))], 20)
    assert large.area > 2 * small.area
    assert large.box[0] > small.box[0]


def test_faces_below_the_confidence_are_left_out() -> None:
    picture = face_makers.draw((160, 120, 100))
    assert Detector(0.7)([picture], 20)[0]
    assert Detector(1.0)([picture], 20) == [[]]


def test_a_picture_without_a_face_has_none(found: Detector) -> None:
    assert found([np.full((240, 320, 3), 120, np.uint8), face_makers.draw()], 20) == [[], []]


def test_what_is_no_box_is_left_out(found: Detector) -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, np.nan, 10], [5, 5, 5, 5], [0, 0, 20, 20]], dtype=object)
    points = np.zeros((4, 5, 2))
    kept = found._faces(boxes, np.ones(4), points)
    assert [face.area for face in kept] == [400, 100]
    points[0] = np.inf
    assert [face.area for face in found._faces(boxes, np.ones(4), points)] == [400]


def test_a_batch_finds_what_single_pictures_find(found: Detector) -> None:
    pictures = [face_makers.draw((100 + 20 * i, 120, 90)) for i in range(3)] + [face_makers.draw()]
    together = found(pictures, 20)
    assert [len(faces) for faces in together] == [1, 1, 1, 0]
    for picture, faces in zip(pictures, together, strict=True):
        alone = found([picture], 20)[0]
        assert all(overlap(a.box, b.box) > 0.95 for a, b in zip(alone, faces, strict=True))


def test_a_picture_smaller_than_the_smallest_face_has_none(found: Detector) -> None:
    assert found([np.zeros((16, 400, 3), np.uint8)], 20) == [[]]


def test_a_face_in_a_larger_picture_lies_further_out() -> None:
    face = Detection(np.array([1.0, 2.0, 3.0, 4.0]), 0.5, np.ones((5, 2)))
    larger = face.scaled(2, 3)
    assert larger.box.tolist() == [2, 6, 6, 12]
    assert larger.points[0].tolist() == [2, 3]
    assert (face.area, larger.area) == (4, 24)


@pytest.mark.parametrize(
    ("smallest", "width", "height", "side", "pixels"),
    [
        (0.1, 1920, 1080, 320, 32.0),  # three times smaller, whatever the size of the picture
        (0.1, 3840, 2160, 320, 32.0),
        (0.1, 320, 240, 240, 24.0),  # never made larger
        (0.05, 1080, 1920, 640, 32.0),
        (0.02, 320, 240, 240, 20.0),  # the detector cannot see smaller ones
    ],
)
def test_the_detector_sees_the_smallest_face_at_one_size(
    smallest: float, width: int, height: int, side: int, pixels: float
) -> None:
    assert working_side(smallest, 32, width, height) == (side, pixels)


def test_what_is_missing_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"python -m pip install --no-deps facenet-pytorch==2\.6\.0"):
        Detector(0.9)


def test_an_installation_without_its_weights_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModuleSpec("facenet_pytorch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(detector, "find_spec", lambda name: spec)
    with pytest.raises(WeightsError, match="facenet-pytorch are missing"):
        detector_sha256()


def test_the_fingerprint_needs_no_pytorch_and_is_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)  # importing it would fail
    monkeypatch.setattr(detector, "sha256", lambda path: path.name)
    monkeypatch.setattr(detector, "_weights", lambda: [Path("a"), Path("b")])
    before = detector_sha256()
    monkeypatch.setattr(detector, "_weights", lambda: [Path("a"), Path("c")])
    assert detector_sha256() != before
