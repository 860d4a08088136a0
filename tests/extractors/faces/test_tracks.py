import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.faces.detector import Detection
from extractors.faces.tracks import Tracker, overlap

POINTS = np.zeros((5, 2))


def face(x: float, size: float = 100.0, confidence: float = 1.0) -> Detection:
    return Detection(np.array([x, 0.0, x + size, size]), confidence, POINTS)


def followed(
    *frames: list[Detection], step: float = 0.2, gap: float = 1.0
) -> tuple[Tracker, list[list[int]]]:
    tracker = Tracker(gap)
    return tracker, [tracker.add(i, i * step, faces) for i, faces in enumerate(frames)]


def test_a_face_that_moves_a_little_is_the_same() -> None:
    assert followed([face(0)], [face(20)], [face(40)])[1] == [[0], [0], [0]]


def test_a_face_that_jumps_is_another_track() -> None:
    tracker, numbers = followed([face(0)], [face(300)])
    assert numbers == [[0], [1]]
    assert sorted(tracker.subject()) == [0, 1]  # never seen beside each other: found again


def test_two_faces_keep_their_numbers_whatever_their_order() -> None:
    _, numbers = followed([face(0), face(300)], [face(310), face(5)], [face(10), face(320)])
    assert numbers == [[0, 1], [1, 0], [0, 1]]


def test_the_better_overlap_wins() -> None:
    _, numbers = followed([face(0)], [face(40), face(5)])
    assert numbers[1] == [1, 0]


@pytest.mark.parametrize(("lost", "same"), [(4, True), (6, False)])
def test_a_face_may_be_lost_for_a_while(lost: int, same: bool) -> None:
    _, numbers = followed([face(0)], *[[] for _ in range(lost - 1)], [face(0)])
    assert numbers[-1] == ([0] if same else [1])


def test_the_subject_is_who_covers_most_of_time_and_picture() -> None:
    tracker, _ = followed([face(0, 120), face(300)], [face(300)], [face(300)])
    assert tracker.subject() == [1]  # the larger one was there for one frame only


def test_who_was_seen_beside_the_subject_is_somebody_else_for_good() -> None:
    tracker, numbers = followed([face(0), face(300, 50)], [face(300, 50)], [face(2)])
    assert numbers == [[0, 1], [1], [0]]
    assert tracker.subject() == [0]


def test_who_comes_back_to_where_somebody_else_was_is_somebody_else() -> None:
    both, alone = [face(0), face(300, 60)], [face(302, 60)]
    tracker, _ = followed(*[both] * 10, *[[]] * 10, *[alone] * 5)
    assert len(tracker.tracks) == 3
    assert tracker.subject() == [0]
    # And before they were seen together, too.
    tracker, _ = followed(*[alone] * 3, *[[]] * 10, *[both] * 10)
    assert tracker.subject() == [1]
    # The subject itself may come back, to where it was or to where nobody was.
    for place in (3.0, 150.0):
        tracker, _ = followed(*[both] * 10, *[[]] * 10, *[[face(place)]] * 5)
        assert tracker.subject() == [0, 2]


def test_an_unsure_face_weighs_less() -> None:
    tracker, _ = followed([face(0, 100, 0.3), face(300, 90, 0.9)])
    assert tracker.subject() == [1]


def test_no_faces_no_subject() -> None:
    tracker, numbers = followed([], [])
    assert (numbers, tracker.subject()) == ([[], []], [])


@given(st.lists(st.lists(st.integers(0, 8), max_size=3, unique=True), max_size=12))
def test_no_two_faces_of_a_frame_are_one_and_the_subject_has_one_at_most(scenes: list[list[int]]) -> None:
    tracker, numbers = followed(*[[face(60.0 * x) for x in scene] for scene in scenes])
    own = set(tracker.subject())
    for frame in numbers:
        assert len(set(frame)) == len(frame)
        assert len(own & set(frame)) <= 1


def test_overlap_is_intersection_over_union() -> None:
    one, other = np.array([0.0, 0.0, 2.0, 2.0]), np.array([1.0, 0.0, 3.0, 2.0])
    assert overlap(one, other) == pytest.approx(1 / 3)
    assert overlap(one, one) == 1
    assert overlap(one, one + 5) == 0
    assert overlap(np.zeros(4), np.zeros(4)) == 0
