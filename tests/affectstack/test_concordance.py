import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from affectstack.concordance import concordance

PAIRS = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        *(arrays(np.float64, (n, 2), elements=st.floats(-100, 100).map(lambda v: round(v, 3))),) * 2
    )
)


def test_the_vector_of_the_specification() -> None:
    assert concordance(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == pytest.approx(0.928571, abs=1e-6)


@given(PAIRS)
def test_it_is_what_the_formula_of_lin_says(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, t = pair
    for a in range(2):
        x, y = p[:, a], t[:, a]
        whole = x.var() + y.var() + (x.mean() - y.mean()) ** 2
        expected = 2 * ((x - x.mean()) * (y - y.mean())).mean() / whole if whole > 0 else 0.0
        assert concordance(p, t)[a] == pytest.approx(expected, abs=1e-9)


@given(PAIRS)
def test_both_sides_count_alike_and_it_is_within_one(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, t = pair
    np.testing.assert_allclose(concordance(p, t), concordance(t, p), atol=1e-12)
    assert np.abs(concordance(p, t)).max() <= 1 + 1e-12


@pytest.mark.parametrize(("p", "t"), [([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [2, 2, 2]), ([2, 2], [2, 2])])
def test_what_is_constant_agrees_with_nothing(p: list[float], t: list[float]) -> None:
    assert concordance(np.array(p), np.array(t)) == 0


def test_equal_values_agree_and_opposite_ones_disagree() -> None:
    x = np.array([-1.0, 0.0, 1.0])
    assert concordance(x, x) == 1
    assert concordance(-x, x) == -1


def test_another_mean_or_spread_costs_what_a_correlation_does_not_see() -> None:
    x = np.arange(10.0)
    assert concordance(x + 3, x) < 1
    assert concordance(2 * (x - x.mean()) + x.mean(), x) < 1


@pytest.mark.parametrize("rows", [0, 3])
def test_shapes_that_do_not_fit_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="shape"):
        concordance(np.zeros((rows, 2)), np.zeros((rows, 2 if rows == 0 else 1)))
