"""Cutting windows: the frames asked for, at their places, and nothing held that is not needed."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.video import Frame
from extractors.windows import Centred, Places, Shape, Sliding, Spread, cut, grey


def numbered(count: int) -> Iterator[Frame]:
    """Yield frames that hold their own number."""
    for i in range(count):
        yield Frame(i / 10, np.full((1, 1, 3), i, np.uint8))


def numbers(picture: np.ndarray) -> list[int]:
    return [int(p[0, 0, 0]) for p in picture]


@given(
    total=st.integers(0, 60),
    frames=st.integers(1, 8),
    spacing=st.integers(1, 4),
    stride=st.integers(1, 9),
)
def test_sliding_windows_are_those_that_fit(total: int, frames: int, spacing: int, stride: int) -> None:
    shape = Shape(frames, spacing)
    found = list(cut(numbered(total), shape, Sliding(shape, stride)))
    starts = [s for s in range(0, total, stride) if s + (frames - 1) * spacing < total] or [0] * bool(total)
    assert [p.start for p in found] == starts
    for piece in found:
        wanted = [piece.start + i * spacing for i in range(frames)]
        assert numbers(piece.pictures) == [min(w, total - 1) for w in wanted]
        assert piece.real == sum(w < total for w in wanted)


@given(
    total=st.integers(0, 60), frames=st.integers(1, 8), spacing=st.integers(1, 4), stride=st.integers(1, 9)
)
def test_there_is_one_centred_window_per_step(total: int, frames: int, spacing: int, stride: int) -> None:
    shape = Shape(frames, spacing)
    found = list(cut(numbered(total), shape, Centred(shape, stride)))
    assert [p.start for p in found] == [m - frames // 2 * spacing for m in range(0, total, stride)]
    for piece in found:
        wanted = [piece.start + i * spacing for i in range(frames)]
        assert numbers(piece.pictures) == [min(max(w, 0), total - 1) for w in wanted]
        assert piece.real == sum(0 <= w < total for w in wanted)


@given(
    total=st.integers(1, 60),
    frames=st.integers(1, 8),
    parts=st.integers(1, 6),
    at=st.sampled_from(["start", "centre"]),
)
def test_spread_windows_lie_inside_and_in_order(total: int, frames: int, parts: int, at: str) -> None:
    shape = Shape(frames, 1)
    found = list(cut(numbered(total), shape, Spread(shape, parts, at, total)))  # type: ignore[arg-type]
    starts = [p.start for p in found]
    assert len(found) == parts
    assert starts == sorted(starts)
    assert all(0 <= s <= max(0, total - frames) for s in starts)


@pytest.mark.parametrize("places", [Sliding(Shape(4, 1), 2), Centred(Shape(4, 1), 2)])
def test_no_more_is_read_than_a_window_needs(places: Places) -> None:
    drawn = []

    def watched() -> Iterator[Frame]:
        for frame in numbered(100):
            drawn.append(frame)
            yield frame

    pieces = cut(watched(), Shape(4, 1), places)
    next(pieces)
    assert len(drawn) <= 4
    next(pieces)
    assert len(drawn) <= 6


def test_a_stated_length_that_is_wrong_ends_in_marked_windows() -> None:
    """The header promised 50 frames, 10 came."""
    shape = Shape(4, 1)
    found = list(cut(numbered(10), shape, Spread(shape, 2, "centre", 50)))
    assert [p.real for p in found] == [0, 0]
    assert numbers(found[0].pictures) == [9] * 4


def test_grey_is_luma() -> None:
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert grey(picture).tolist() == [[76, 150, 29, 255]]
