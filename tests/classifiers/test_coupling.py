"""Sigmoids per pair of classes, and their coupling into one distribution."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from classifiers.coupling import couple, fit_sigmoids, pairs

UNIT = np.array([1.0, 0.0])  # slope 1, offset 0: a decision is a log-odds


def as_they_are(classes: int) -> NDArray[np.float64]:
    return np.tile(UNIT, (len(pairs(classes)), 1))


def consistent_decisions(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of p_i against p_j for every pair."""
    return np.array([[np.log(row[i]) - np.log(row[j]) for i, j in pairs(p.shape[1])] for row in p])


@st.composite
def distributions(draw: st.DrawFn) -> NDArray[np.float64]:
    classes = draw(st.integers(2, 8))
    rows = draw(st.lists(st.lists(st.floats(1e-3, 1), min_size=classes, max_size=classes), min_size=1))
    p = np.array(rows)
    return p / p.sum(axis=1, keepdims=True)


def drawn(rng: np.random.Generator, slope: float, offset: float, n: int) -> tuple[NDArray, NDArray]:
    """Return decisions of a pair and labels that follow its sigmoid: class 0 where the decision is high."""
    decisions = rng.normal(size=n) * 2
    y = np.where(rng.random(n) < expit(slope * decisions + offset), 0, 1)
    return decisions[:, None], y


@pytest.mark.parametrize("classes", range(2, 9))
def test_pairs_come_in_the_order_of_one_versus_one_columns(classes: int) -> None:
    assert pairs(classes) == list(combinations(range(classes), 2))


@given(distributions())
def test_consistent_pairs_give_back_the_distribution(p: NDArray[np.float64]) -> None:
    back = couple(consistent_decisions(p), as_they_are(p.shape[1]), p.shape[1])
    np.testing.assert_allclose(back, p, atol=1e-6)


@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1, 10, 1000]))
def test_any_decisions_give_a_distribution(classes: int, seed: int, strength: float) -> None:
    decisions = np.random.default_rng(seed).normal(size=(20, len(pairs(classes)))) * strength
    p = couple(decisions, as_they_are(classes), classes)
    assert np.isfinite(p).all()
    assert p.min() > 0
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)


@given(st.integers(3, 7), st.integers(0, 2**32 - 1))
def test_the_numbering_of_classes_does_not_matter(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.normal(size=(classes, classes)), 1)
    matrix -= matrix.T
    order = rng.permutation(classes)
    plain = np.array([[matrix[i, j] for i, j in pairs(classes)]])
    renamed = np.array([[matrix[order[i], order[j]] for i, j in pairs(classes)]])
    p = couple(plain, as_they_are(classes), classes)
    q = couple(renamed, as_they_are(classes), classes)
    np.testing.assert_allclose(q, p[:, order], atol=1e-9)


def test_rows_do_not_depend_on_each_other() -> None:
    decisions = np.random.default_rng(0).normal(size=(10, 6))
    together = couple(decisions, as_they_are(4), 4)
    apart = np.concatenate([couple(row[None], as_they_are(4), 4) for row in decisions])
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("decision", [-5.0, -0.3, 0.0, 0.3, 5.0])
def test_two_classes_couple_to_the_sigmoid_of_the_first(decision: float) -> None:
    p = couple(np.array([[decision]]), np.array([[2.0, 0.5]]), 2)
    np.testing.assert_allclose(p[0, 0], expit(2 * decision + 0.5), atol=1e-6)


def test_a_class_that_wins_every_pair_is_nearly_certain() -> None:
    decisions = np.array([[-50.0, 0.0, 50.0]])  # class 1 beats 0 and 2
    assert couple(decisions, as_they_are(3), 3)[0].argmax() == 1
    assert couple(decisions, as_they_are(3), 3)[0, 1] > 0.999


def test_a_circle_of_wins_is_uniform() -> None:
    decisions = np.array([[3.0, -3.0, 3.0]])  # 0 beats 1, 1 beats 2, 2 beats 0
    np.testing.assert_allclose(couple(decisions, as_they_are(3), 3), 1 / 3, atol=1e-9)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, -1.0), (3.0, 0.7), (-0.8, 0.2)])
def test_sigmoids_agree_with_unpenalised_logistic_regression(slope: float, offset: float) -> None:
    decisions, y = drawn(np.random.default_rng(0), slope, offset, 20_000)
    fitted = fit_sigmoids(decisions, y, 2)
    ours = expit(decisions[:, 0] * fitted[0, 0] + fitted[0, 1])
    theirs = LogisticRegression(C=np.inf).fit(decisions, y).predict_proba(decisions)[:, 0]
    np.testing.assert_allclose(ours, theirs, atol=2e-3)  # Platt's targets differ by 1/(n + 2)
    np.testing.assert_allclose(fitted[0], [slope, offset], atol=0.15)


@pytest.mark.parametrize("unit", [1e-4, 1, 1e4])
def test_the_unit_of_decisions_does_not_matter(unit: float) -> None:
    decisions, y = drawn(np.random.default_rng(1), 1.0, 0.3, 500)
    plain, scaled = fit_sigmoids(decisions, y, 2), fit_sigmoids(decisions * unit, y, 2)
    np.testing.assert_allclose(scaled[:, 0] * unit, plain[:, 0], rtol=2e-2)
    np.testing.assert_allclose(scaled[:, 1], plain[:, 1], atol=2e-2)


@pytest.mark.parametrize("gap", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_separable_decisions_stay_finite_and_modest(gap: float, count: int) -> None:
    decisions = np.repeat([[gap], [-gap]], count, axis=0)
    y = np.repeat([0, 1], count)
    fitted = fit_sigmoids(decisions, y, 2)
    assert np.isfinite(fitted).all()
    first = expit(fitted[0, 0] * gap + fitted[0, 1])
    np.testing.assert_allclose(first, (count + 1) / (count + 2), atol=1e-3)  # Platt's smoothed target


def test_decisions_that_say_nothing_give_the_prior() -> None:
    y = np.repeat([0, 1], [30, 10])
    fitted = fit_sigmoids(np.zeros((40, 1)), y, 2)
    np.testing.assert_allclose(expit(fitted[0, 1]), 0.75, atol=0.03)


def test_a_pair_learns_from_its_own_two_classes_alone() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 300)
    decisions = rng.normal(size=(300, 3)) + np.where(y == 0, 1, -1)[:, None]
    changed = decisions.copy()
    changed[y == 2, 0] = 99  # column 0 is the pair (0, 1)
    before, after = fit_sigmoids(decisions, y, 3), fit_sigmoids(changed, y, 3)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-3, atol=1e-3)


def test_pairs_are_fitted_independently_of_each_other() -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 4, 400)
    decisions = rng.normal(size=(400, 6))
    together = fit_sigmoids(decisions, y, 4)
    for column, (i, j) in enumerate(pairs(4)):
        rows = (y == i) | (y == j)
        alone = fit_sigmoids(decisions[rows][:, [column]], np.where(y[rows] == i, 0, 1), 2)
        np.testing.assert_allclose(together[column], alone[0], atol=5e-3)


def test_the_sign_follows_the_first_class() -> None:
    decisions = np.array([[2.0], [1.5], [-1.0], [-2.0]])
    y = np.array([0, 0, 1, 1])
    fitted = fit_sigmoids(decisions, y, 2)
    assert fitted[0, 0] > 0
    assert couple(decisions, fitted, 2).argmax(axis=1).tolist() == y.tolist()


def test_a_pair_that_was_never_held_out_is_not_certain() -> None:
    y = np.repeat([0, 1], 20)  # classes 2 and 3 have no clip here
    decisions = np.random.default_rng(4).normal(size=(40, 6))
    unseen = fit_sigmoids(decisions, y, 4)[pairs(4).index((2, 3))]
    assert np.abs(unseen[0]) < 100


def test_log_odds_survive_the_way_through_a_sigmoid() -> None:
    p = np.array([[0.2, 0.8]])
    np.testing.assert_allclose(couple(np.array([[logit(0.2)]]), UNIT[None], 2), p, atol=1e-7)
