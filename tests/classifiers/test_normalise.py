"""Pooling and normalisation between the store and a head."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from classifiers import normalise_by_subject, pool_mean

VALUES = st.floats(-1e4, 1e4, width=32)
FloatClips = list[NDArray[np.float32]]


def clips_of(subjects: list[str], sequences: bool, seed: int = 0) -> FloatClips:
    rng = np.random.default_rng(seed)
    shapes = [(int(rng.integers(2, 7)), 3) if sequences else (3,) for _ in subjects]
    return [(rng.normal(size=shape) * [1, 50, 0.01] + [0, 300, -1]).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("sequences", [False, True], ids=["vectors", "sequences"])
def test_every_subject_gets_zero_mean_and_unit_deviation(sequences: bool) -> None:
    subjects = ["ann", "bob", "ann", "bob", "ann", "ann", "bob"]
    normal = normalise_by_subject(clips_of(subjects, sequences), subjects)
    for subject in ("ann", "bob"):
        rows = [np.atleast_2d(x) for x, s in zip(normal, subjects, strict=True) if s == subject]
        stacked = np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(stacked.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(stacked.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("sequences", [False, True], ids=["vectors", "sequences"])
def test_shapes_order_and_type_stay(sequences: bool) -> None:
    subjects = ["b", "a", "b", "a"]
    clips = clips_of(subjects, sequences)
    normal = normalise_by_subject(clips, subjects)
    assert [x.shape for x in normal] == [x.shape for x in clips]
    assert {x.dtype for x in normal} == {np.dtype(np.float32)}
    for i, subject in enumerate(subjects):
        alone = normalise_by_subject(
            [c for c, s in zip(clips, subjects, strict=True) if s == subject],
            [subject] * subjects.count(subject),
        )
        np.testing.assert_array_equal(normal[i], alone[subjects[:i].count(subject)])


@pytest.mark.parametrize("sequences", [False, True], ids=["vectors", "sequences"])
@given(data=st.data())
def test_the_clips_of_others_never_matter(sequences: bool, data: st.DataObject) -> None:
    subjects = data.draw(st.lists(st.sampled_from("ab"), min_size=2, max_size=8))
    clips = clips_of(subjects, sequences)

    def other(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        return data.draw(arrays(np.float32, clip.shape, elements=VALUES))

    changed = [other(c) if s == "b" else c for c, s in zip(clips, subjects, strict=True)]
    before, after = normalise_by_subject(clips, subjects), normalise_by_subject(changed, subjects)
    for x, y, subject in zip(before, after, subjects, strict=True):
        if subject == "a":
            np.testing.assert_array_equal(x, y)


@given(value=VALUES, count=st.integers(1, 9))
def test_a_feature_that_is_constant_within_a_subject_becomes_zero(value: float, count: int) -> None:
    constant = [np.full((1, 2), value, dtype=np.float32) for _ in range(count)]
    varied = [np.array([[7.0, i]], dtype=np.float32) for i in range(3)]
    normal = normalise_by_subject([*constant, *varied], ["a"] * count + ["b"] * 3)
    for x in normal[:count]:
        np.testing.assert_array_equal(x, 0)
    assert [float(x[0, 0]) for x in normal[count:]] == [0, 0, 0]


@pytest.mark.parametrize("sequences", [False, True], ids=["vectors", "sequences"])
def test_the_callers_clips_are_never_written_to(sequences: bool) -> None:
    clips = clips_of(["a", "b", "a"], sequences)
    copies = [c.copy() for c in clips]
    normalise_by_subject(clips, ["a", "b", "a"])
    for clip, copy in zip(clips, copies, strict=True):
        np.testing.assert_array_equal(clip, copy)


@pytest.mark.parametrize("unit", [1e6, 1e-3, 1e-5, 1e-11])
def test_the_unit_of_a_feature_does_not_matter(unit: float) -> None:
    subjects = ["a", "a", "b", "a", "b"]
    clips = clips_of(subjects, sequences=True)
    rescaled = [(c.astype(np.float64) * unit).astype(np.float32) for c in clips]
    for x, y in zip(
        normalise_by_subject(clips, subjects), normalise_by_subject(rescaled, subjects), strict=True
    ):
        np.testing.assert_allclose(x, y, atol=2e-3)


def test_no_clips_give_no_clips() -> None:
    assert normalise_by_subject([], []) == []


@given(
    arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=VALUES),
    st.data(),
)
def test_pooling_averages_the_valid_rows_alone(values: NDArray[np.float32], data: st.DataObject) -> None:
    valid = data.draw(arrays(np.bool_, len(values)))
    spoiled = values.copy()
    spoiled[~valid] = data.draw(st.sampled_from([np.nan, np.inf, 1e30, 0.0]))
    pooled: Any = pool_mean(spoiled, valid)
    if not valid.any():
        assert pooled is None
        return
    assert pooled.shape == (values.shape[1],)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, values[valid].astype(np.float64).mean(axis=0), rtol=1e-6, atol=1e-30)


def test_no_rows_pool_to_none() -> None:
    assert pool_mean(np.empty((0, 3), np.float32), np.empty(0, np.bool_)) is None


def test_a_million_rows_lose_no_precision() -> None:
    rows = 1_000_000
    pooled = pool_mean(np.full((rows, 1), 0.1, np.float32), np.ones(rows, np.bool_))
    assert pooled is not None
    assert pooled[0] == np.float32(0.1)
