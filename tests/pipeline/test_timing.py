import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors import Features
from pipeline.timing import at_rate, cut


def rows(count: int, rate: float = 10.0, begin: float = 0.0, valid: list[bool] | None = None) -> Features:
    edges = begin + np.arange(count + 1) / rate
    there = np.ones(count, np.bool_) if valid is None else np.array(valid)
    values = np.arange(count, dtype=np.float32)[:, None]
    return Features(values, np.column_stack([edges[:-1], edges[1:]]), there)


def test_what_is_short_enough_is_left_as_it_is() -> None:
    assert cut(rows(36), 3.6, centre=True) is None


@pytest.mark.parametrize(("centre", "first", "last"), [(True, 20, 39), (False, 0, 19)])
def test_a_longer_clip_keeps_its_middle_or_its_beginning(centre: bool, first: int, last: int) -> None:
    part = cut(rows(60, begin=7.0), 2.0, centre)
    assert part is not None
    assert (part.values[0, 0], part.values[-1, 0], len(part.values)) == (first, last, 20)
    assert part.intervals[0, 0] == pytest.approx(7.0 + first / 10)


def test_a_last_row_that_reaches_past_the_end_is_no_reason_to_cut() -> None:
    assert cut(rows(36), 3.56, centre=False) is None


def test_a_row_longer_than_the_part_stays_the_one_nearest_to_it() -> None:
    part = cut(rows(3, rate=0.1), 2.0, centre=True)
    assert part is not None
    assert part.values.tolist() == [[1]]


def test_rows_of_another_rate_are_means_by_their_share() -> None:
    found = at_rate(rows(6), 10 / 1.5)  # three rows of theirs in two of ours
    np.testing.assert_allclose(found.values[:, 0], [1 / 3, 5 / 3, 10 / 3, 14 / 3], rtol=1e-6)
    np.testing.assert_allclose(found.intervals[:, 0], [0, 0.15, 0.3, 0.45])
    assert found.valid.all()


def test_rows_that_say_nothing_do_not_count() -> None:
    found = at_rate(rows(6, valid=[True, False, False, False, True, True]), 5.0)
    assert found.values[:, 0].tolist() == [0, 0, 4.5]
    assert found.valid.tolist() == [True, False, True]


def test_one_row_without_a_length_stays_one_row() -> None:
    still = Features(np.ones((1, 2), np.float32), np.zeros((1, 2)), np.ones(1, np.bool_))
    found = at_rate(still, 25.0)
    assert found.values.tolist() == [[1, 1]]
    assert found.valid.tolist() == [True]


@given(st.integers(1, 50), st.floats(0.5, 40.0), st.integers(1, 30))
def test_a_mean_of_equal_rows_is_that_row_and_no_time_is_lost(count: int, rate: float, theirs: int) -> None:
    same = rows(count, rate=float(theirs))
    same = Features(np.full_like(same.values, 3.0), same.intervals, same.valid)
    found = at_rate(same, rate)
    np.testing.assert_allclose(found.values, 3.0, rtol=1e-5)
    assert found.valid.all()
    length = count / theirs
    assert abs(len(found.values) / rate - length) <= max(0.5 / rate, 1 / rate - length) + 1e-9
