import io

import face_makers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from extractors.contract import DecodeError
from extractors.faces.crops import _MEAN_FACE, Place, cut_out, decode, encode, place_of
from extractors.faces.detector import Detection, Detector

BOX = np.array([100.0, 50.0, 200.0, 170.0])


def detection(points: np.ndarray | None = None) -> Detection:
    return Detection(BOX, 1.0, np.zeros((5, 2)) if points is None else points)


def test_a_square_lies_around_the_box() -> None:
    place = place_of(detection(), 0.0, align=False)
    assert (place.at(0.5, 0.5), place.along) == (150 + 110j, 120)


def test_the_margin_is_a_share_of_the_face() -> None:
    place = place_of(detection(), 0.25, align=False)
    assert (place.at(0.5, 0.5), place.along) == (150 + 110j, 180)


@given(st.floats(10, 400), st.floats(-180, 180), st.floats(-50, 300), st.floats(-50, 300), st.floats(0, 0.5))
def test_alignment_undoes_any_shift_turn_and_scale(
    side: float, turn: float, x: float, y: float, margin: float
) -> None:
    along = side * np.exp(1j * np.radians(turn))
    points = complex(x, y) + along * (_MEAN_FACE @ [1, 1j])
    place = place_of(detection(np.column_stack([points.real, points.imag])), margin, align=True)
    inner = 1 / (1 + 2 * margin)
    assert abs(place.at(0.5 - inner / 2, 0.5 - inner / 2) - complex(x, y)) < 1e-6 * side + 1e-9
    assert abs(place.along * inner - along) < 1e-6 * side


def test_a_piece_is_what_lies_there() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    found = np.asarray(cut_out(picture, Place(10 + 20j, 32), 32))
    np.testing.assert_array_equal(found, picture[20:52, 10:42])


def test_a_turned_piece_is_turned_back() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[10:20] = 255  # a bar at the top
    found = np.asarray(cut_out(picture, Place(64 + 0j, 64j), 64))  # its top is the picture's right side
    assert found[:, 12:18].min() == 255
    assert found[:, 25:].max() == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.floats(0, 1), st.floats(0, 1))
def test_a_large_face_is_averaged_not_skipped(shrink: int, dx: float, dy: float) -> None:
    """A chequerboard of single pixels becomes grey; looking pixels up would give black, white or stripes."""
    picture = np.zeros((500, 500, 3), np.uint8)
    picture[::2, ::2] = picture[1::2, 1::2] = 255
    found = np.asarray(cut_out(picture, Place(complex(50 + dx, 50 + dy), 32 * 2 * shrink), 32))
    assert abs(found.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("corner", [-20 - 20j, 60 + 50j, -20 + 50j])
def test_what_lies_outside_repeats_the_edge(corner: complex) -> None:
    picture = np.full((80, 90, 3), 77, np.uint8)
    assert set(np.asarray(cut_out(picture, Place(corner, 50), 32)).ravel()) == {77}


def test_eyes_of_a_turned_face_come_out_level() -> None:
    picture = face_makers.draw((160, 120, 100), turn=20)
    detector = Detector(0.9)
    ((face,),) = detector([picture], 20)
    upright = np.asarray(cut_out(picture, place_of(face, 0.3, align=True), 224))
    ((again,),) = detector([upright], 20)
    before, after = face.points[1] - face.points[0], again.points[1] - again.points[0]
    assert abs(np.degrees(np.arctan2(before[1], before[0]))) > 12
    assert abs(np.degrees(np.arctan2(after[1], after[0]))) < 5


def test_a_picture_survives_its_file_almost_unchanged() -> None:
    picture = face_makers.draw((160, 120, 100))[:224, :224]
    image = Image.fromarray(picture)
    again = decode(encode(image, 95))
    assert np.abs(again.astype(int) - picture).mean() < 1
    assert encode(image, 95) == encode(image, 95)
    assert len(encode(image, 95)) > len(encode(image, 60))


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        png(),
        encode(Image.new("RGB", (64, 64)), 95)[:200],
        encode(Image.new("RGB", (64, 32)), 95),
        encode(Image.new("RGB", (2000, 2000)), 95),
    ],
    ids=["empty", "text", "png", "cut", "oblong", "large"],
)
def test_what_is_no_face_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError, match="a stored picture"):
        decode(content)
