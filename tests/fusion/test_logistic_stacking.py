"""Stacking by logistic regression on log-posteriors."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from affectstack import AffectstackError
from fusion.logistic import LogisticStacking

K = 3


def problem(seed: int = 0, n: int = 300) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, K, n)
    return softmax(rng.normal(size=(n, 2, K)) + np.eye(K)[y][:, None], axis=2), y


@pytest.mark.parametrize("C", [0.01, 0.1, 10.0])
def test_posteriors_sum_to_one(C: float) -> None:
    P, y = problem()
    fused = LogisticStacking(C=C).fit(P, y).predict_proba(P)
    assert fused.shape == (300, K)
    np.testing.assert_allclose(fused.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("absent", range(K))
def test_a_class_that_no_training_row_had_gets_zero_in_its_own_column(absent: int) -> None:
    P, y = problem()
    seen = y != absent
    fused = LogisticStacking().fit(P[seen], y[seen]).predict_proba(P)
    assert (fused[:, absent] == 0).all()
    np.testing.assert_allclose(fused.sum(axis=1), 1, atol=1e-12)
    assert np.mean(fused[seen].argmax(axis=1) == y[seen]) > 0.6


def test_it_turns_round_a_source_that_is_always_wrong() -> None:
    """Unlike the pool, it weighs every column of every source by itself."""
    _, y = problem()
    wrong = (np.eye(K)[(y + 1) % K] * 0.8 + 0.2 / K)[:, None]
    fused = LogisticStacking(C=1.0).fit(wrong, y).predict_proba(wrong)
    np.testing.assert_array_equal(fused.argmax(axis=1), y)


def test_a_small_cost_gives_the_prior() -> None:
    P, y = problem()
    fused = LogisticStacking(C=1e-9).fit(P, y).predict_proba(P)
    np.testing.assert_allclose(fused, np.tile(np.bincount(y) / len(y), (300, 1)), atol=1e-3)


def test_the_scaler_knows_the_training_rows_alone() -> None:
    P, y = problem()
    model = LogisticStacking().fit(P, y)
    certain = np.tile([[[1.0, 0, 0], [0, 0, 1.0]]], (50, 1, 1))
    together = model.predict_proba(np.concatenate([P[:1], certain]))
    np.testing.assert_allclose(together[0], model.predict_proba(P[:1])[0], atol=1e-12)


def test_another_number_of_sources_than_in_training_is_refused() -> None:
    P, y = problem()
    with pytest.raises(ValueError, match="features"):
        LogisticStacking().fit(P, y).predict_proba(P[:, :1])


def test_one_class_alone_is_refused_readably() -> None:
    P, _ = problem()
    with pytest.raises(AffectstackError, match="class"):
        LogisticStacking().fit(P, np.zeros(len(P), dtype=np.int64))
