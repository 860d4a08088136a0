from pathlib import Path

import av
import clip_makers
import face_makers
import numpy as np
import pytest

from extractors.contract import Clip, DecodeError, MissingMediaError, TooShortError
from extractors.faces.crops import decode
from extractors.faces.detector import Detector
from extractors.faces.finding import FaceRow, _batches, find_faces
from extractors.faces.settings import FaceSettings
from extractors.shared import Shared
from extractors.video import Shown

MAIN, OTHER = (110.0, 120.0, 100.0), (260.0, 120.0, 60.0)
SETTINGS = FaceSettings(fps=5, size=64)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(SETTINGS.confidence)


def found(path: Path, detector: Detector, settings: FaceSettings = SETTINGS, **clip: float) -> list[FaceRow]:
    return find_faces(Clip("a", video=path, **clip), detector, settings)  # type: ignore[arg-type]


def test_every_frame_has_a_row_with_the_face_if_there_is_one(tmp_path: Path, detector: Detector) -> None:
    path = face_makers.film(tmp_path / "a.mkv", [MAIN], [MAIN], [], [], [MAIN])
    rows = found(path, detector)
    assert [round(r.time, 2) for r in rows] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert [r.face is not None for r in rows] == [True, True, False, False, True]
    assert [bool(r.picture) for r in rows] == [True, True, False, False, True]
    assert [r.faces for r in rows] == [1, 1, 0, 0, 1]
    assert [r.track for r in rows] == [0, 0, -1, -1, 0]
    assert decode(rows[0].picture).shape == (64, 64, 3)


def test_of_two_faces_the_subject_is_followed(tmp_path: Path, detector: Detector) -> None:
    path = face_makers.film(tmp_path / "a.mkv", [OTHER], [MAIN, OTHER], [MAIN, OTHER], [OTHER], [MAIN])
    rows = found(path, detector)
    assert [r.faces for r in rows] == [1, 2, 2, 1, 1]
    # The other one alone is never taken for the subject, not even before the subject is there.
    assert [r.face is not None for r in rows] == [False, True, True, False, True]
    assert all(r.face.box[0] < 150 for r in rows if r.face is not None)


def test_nothing_is_carried_from_one_clip_to_the_next(tmp_path: Path, detector: Detector) -> None:
    with_face = face_makers.film(tmp_path / "a.mkv", [MAIN], [MAIN])
    without = face_makers.film(tmp_path / "b.mkv", [], [])
    assert all(r.face for r in found(with_face, detector))
    assert not any(r.face or r.picture for r in found(without, detector))


def test_a_large_picture_is_searched_small_and_cut_out_large(tmp_path: Path, detector: Detector) -> None:
    picture = face_makers.draw((800, 500, 400), size=(1600, 900))
    path = clip_makers.write_clip(tmp_path / "a.mkv", [picture] * 2, fps=5)
    row = found(path, detector)[0]
    assert row.face is not None
    assert 250 < row.face.box[2] - row.face.box[0] < 450
    assert abs(row.face.box[[0, 2]].mean() - 800) < 20


def test_a_rotated_film_is_looked_at_upright(tmp_path: Path, detector: Detector) -> None:
    lying = np.rot90(
        face_makers.draw((120, 160, 100), size=(240, 320)), -1
    )  # as a telephone held upright has it
    path = clip_makers.write_clip(tmp_path / "a.mp4", [np.ascontiguousarray(lying)] * 3, fps=5)
    row = found(clip_makers.rotate_mp4(path, (0, -1, 1, 0)), detector)[0]
    assert row.face is not None
    left, right = row.face.points[:2]
    assert left[0] < right[0]
    assert abs(left[1] - right[1]) < 10


def test_start_and_end_are_kept(tmp_path: Path, detector: Detector) -> None:
    path = face_makers.film(tmp_path / "a.mkv", [], [MAIN], [MAIN], [])
    rows = found(path, detector, start=0.2, end=0.6)
    assert [round(r.time, 2) for r in rows] == [0.2, 0.4]
    assert all(r.face for r in rows)
    with pytest.raises(TooShortError, match="no frame lies between 9 s and 10 s"):
        found(path, detector, start=9.0, end=10.0)


def test_a_clip_without_video_and_a_broken_one_fail(tmp_path: Path, detector: Detector) -> None:
    with pytest.raises(MissingMediaError):
        find_faces(Clip("a"), detector, SETTINGS)
    (tmp_path / "x.mp4").write_bytes(b"none")
    with pytest.raises(DecodeError):
        found(tmp_path / "x.mp4", detector)


def test_batches_do_not_change_what_is_found(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = face_makers.film(tmp_path / "a.mkv", *[[(80.0 + 10 * i, 120.0, 90.0)] for i in range(7)])
    together = found(path, detector)
    monkeypatch.setattr("extractors.faces.finding._MOST_IN_BATCH", 2)
    apart = found(path, detector)
    assert [r.time for r in together] == [r.time for r in apart]
    for one, other in zip(together, apart, strict=True):
        assert one.face is not None
        assert other.face is not None
        np.testing.assert_allclose(one.face.box, other.face.box, atol=1.0)


def test_the_size_of_the_picture_may_change(tmp_path: Path, detector: Detector) -> None:
    small, large = (face_makers.draw((s / 2, s / 2, s / 3), size=(s, s)) for s in (160, 320))
    shown = [
        Shown(i / 5, av.VideoFrame.from_ndarray(p, format="rgb24")) for i, p in enumerate([small, large])
    ]
    assert [len(batch) for batch in _batches(iter([shown[0], shown[0], shown[1], shown[0]]))] == [2, 1, 1]


def test_no_more_faces_are_cut_out_than_are_followed(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractors.faces.finding._MOST_FACES", 1)
    path = face_makers.film(tmp_path / "a.mkv", [MAIN, OTHER])
    (row,) = found(path, detector)
    assert (row.faces, row.track) == (2, 0)  # counted, but not followed
    cut: list[int] = []
    monkeypatch.setattr("extractors.faces.finding.encode", lambda *_: cut.append(1) or b"x")
    found(path, detector)
    assert cut == [1]


def test_work_on_a_long_clip_gives_signs_of_life(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractors.faces.finding._MOST_IN_BATCH", 2)
    signs: list[int] = []
    path = face_makers.film(tmp_path / "a.mkv", *[[MAIN]] * 5)
    shared = Shared(still_alive=lambda: signs.append(1))
    find_faces(Clip("a", video=path, shared=shared), detector, SETTINGS)
    assert len(signs) == 3
