"""Laws of fusions of values."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from fusion import VALUE_FUSERS, FusionError
from fusion.value_linear import LinearValues


def sources(seed: int = 0, rows: int = 40, count: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 2)) * [1, 4] + [3, -1]
    said = np.stack([truth + rng.normal(size=truth.shape) * noise for noise in (0.5, 2, 5)[:count]], axis=1)
    return said, truth


@pytest.mark.parametrize("name", list(VALUE_FUSERS))
def test_a_row_does_not_depend_on_the_others(name: str) -> None:
    P, y = sources()
    fuser = VALUE_FUSERS[name]().fit(P, y)
    fused = fuser.combine(P)
    assert fused.shape == y.shape
    np.testing.assert_allclose(np.concatenate([fuser.combine(P[:7]), fuser.combine(P[7:])]), fused)


@pytest.mark.parametrize("name", list(VALUE_FUSERS))
def test_attributes_do_not_depend_on_each_other(name: str) -> None:
    P, y = sources()
    both = VALUE_FUSERS[name]().fit(P, y).combine(P)
    turned = VALUE_FUSERS[name]().fit(P[:, :, ::-1], y[:, ::-1]).combine(P[:, :, ::-1])
    np.testing.assert_allclose(turned[:, ::-1], both)


@pytest.mark.parametrize("name", list(VALUE_FUSERS))
def test_equal_sources_fuse_to_what_they_say_where_they_are_right(name: str) -> None:
    _, y = sources()
    P = np.stack([y, y], axis=1)
    np.testing.assert_allclose(VALUE_FUSERS[name]().fit(P, y).combine(P), y)


def test_the_mean_and_the_weighted_mean() -> None:
    P = np.array([[[1.0, 10.0], [3.0, 30.0]]])
    assert VALUE_FUSERS["mean"]().combine(P).tolist() == [[2.0, 20.0]]
    weighted = VALUE_FUSERS["weighted"](weights=[3, 1])
    assert weighted.combine(P).tolist() == [[1.5, 15.0]]
    assert weighted.of([1]).combine(P[:, 1:]).tolist() == [[3.0, 30.0]]
    with pytest.raises(FusionError, match="2 weights for 3 sources"):
        weighted.check(3)


def test_weights_are_those_of_bounded_least_squares() -> None:
    P, y = sources()
    P[:, 0] = -P[:, 0]  # a source that says the opposite would get a negative weight
    fuser = LinearValues().fit(P, y)
    assert (fuser.weights_ >= 0).all()
    for a in range(2):
        columns = np.column_stack([P[:, :, a], np.ones(len(P))])
        free = [0.0, 0.0, 0.0, -np.inf]
        expected = lsq_linear(columns, y[:, a], bounds=(free, np.inf), tol=1e-14).x
        np.testing.assert_allclose([*fuser.weights_[:, a], fuser.intercepts_[a]], expected, atol=1e-5)
    assert fuser.weights_[0] == pytest.approx([0, 0])


@given(st.integers(0, 1000))
def test_stacking_is_no_worse_than_any_source_or_the_mean_on_what_it_learned_from(seed: int) -> None:
    P, y = sources(seed)
    error = ((LinearValues().fit(P, y).combine(P) - y) ** 2).mean(axis=0)
    for other in (*P.transpose(1, 0, 2), P.mean(axis=1)):
        assert (error <= ((other - y) ** 2).mean(axis=0) + 1e-9).all()


def test_a_source_of_another_mean_and_scale_is_brought_to_that_of_the_truth() -> None:
    _, y = sources()
    P = (10 * y + 7)[:, None]
    np.testing.assert_allclose(LinearValues().fit(P, y).combine(P), y)


def test_other_sources_than_it_learned_from_are_refused() -> None:
    P, y = sources()
    with pytest.raises(FusionError, match="3 sources and 2 attributes was given 2 and 2"):
        LinearValues().fit(P, y).combine(P[:, :2])
