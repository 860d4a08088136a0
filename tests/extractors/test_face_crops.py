from pathlib import Path

import face_makers
import numpy as np
import pytest

from affectstack import AffectstackError
from extractors.contract import Clip, check_features
from extractors.face_crops import COLUMNS, FaceCrops

MAIN, OTHER = (110.0, 120.0, 100.0), (260.0, 120.0, 60.0)


def test_rows_say_where_the_face_is_and_hold_it(tmp_path: Path) -> None:
    path = face_makers.film(tmp_path / "a.mkv", [MAIN], [], [MAIN, OTHER], [OTHER])
    extractor = FaceCrops(size=64)
    features = extractor.extract(Clip("a", video=path))
    check_features(features, extractor.dim)
    assert features.valid.tolist() == [True, False, True, False]
    assert features.pictures is not None
    assert [bool(p) for p in features.pictures] == [True, False, True, False]
    np.testing.assert_allclose(features.intervals, [[0, 0.2], [0.2, 0.4], [0.4, 0.6], [0.6, 0.8]])
    value = dict(zip(COLUMNS, features.values[2], strict=True))
    assert value["left"] < value["left_eye_x"] < value["nose_x"] < value["right_eye_x"] < value["right"]
    assert value["left_eye_y"] < value["nose_y"] < value["left_mouth_y"] < value["bottom"]
    assert (value["faces"], value["track"]) == (2, 0)
    assert not features.values[1].any()
    assert features.values[3].tolist() == [*[0.0] * 15, 1.0, 0.0]
    assert extractor.tally(features) == {
        "frames": 4,
        "with_face": 2,
        "without_face": 1,
        "others_alone": 1,
        "several_faces": 1,
        "tracks": 1,
    }


@pytest.mark.parametrize("confidence", [0.5, 0.69])
def test_a_confidence_that_the_detector_does_not_know_is_refused(confidence: float) -> None:
    with pytest.raises(AffectstackError, match=r"confidence 0\.\d+; expected 0\.7 to 1"):
        FaceCrops(confidence=confidence)


def test_what_is_counted_is_declared() -> None:
    assert FaceCrops.counted[:2] == ("frames", "with_face")


# When a face is there, in seconds of the film; looked at with the eye.
REAL = {
    "single_face.mp4": (0.0, 2.4),
    "face_noface.mov": (0.0, 2.3),
    "noface_face.mov": (3.9, 6.4),
    "WolfgangLanger_Pexels.mp4": (0.0, 20.0),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_faces_are_found_in_real_films_while_they_are_there(real_data: Path, name: str) -> None:
    features = FaceCrops().extract(Clip("a", video=real_data / "edge_videos" / name))
    begin, end = REAL[name]
    times = features.intervals[:, 0]
    assert features.valid.tolist() == [bool(begin <= t <= end) for t in times]


@pytest.mark.realdata
def test_no_face_is_found_where_there_is_none(real_data: Path) -> None:
    features = FaceCrops().extract(Clip("a", video=real_data / "edge_videos" / "no_face.mp4"))
    assert not features.valid.any()
    assert not any(features.pictures or ())


@pytest.mark.realdata
def test_every_talking_head_has_its_face_in_every_frame(real_data: Path) -> None:
    clips = sorted((real_data / "grid_av" / "GRID").glob("*.mpg"))
    assert len(clips) == 10
    for path in clips:
        features = FaceCrops(fps=2).extract(Clip("a", video=path))
        assert features.valid.all()
