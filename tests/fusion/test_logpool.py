"""The logarithmic opinion pool: weights by maximum likelihood."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from fusion import FUSERS, FusionError
from fusion.logpool import LogPool
from fusion.rules import Product

K = 4
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEARNERS = [n for n in FUSERS if FUSERS[n].trainable]


def truth(rng: np.random.Generator, n: int) -> Ints:
    return rng.integers(0, K, n)


def weak(rng: np.random.Generator, y: Ints, strength: float = 1.5) -> Floats:
    """Return calibrated posteriors of a source that sees the label through noise."""
    evidence = rng.normal(size=(len(y), K)) + strength * np.eye(K)[y]
    return softmax(strength * evidence, axis=1)


def certain(y: Ints, sure: float = 0.999) -> Floats:
    return np.eye(K)[y] * (sure - (1 - sure) / (K - 1)) + (1 - sure) / (K - 1)


def accuracy(p: Floats, y: Ints) -> float:
    return float(np.mean(p.argmax(axis=1) == y))


def log_loss(p: Floats, y: Ints) -> float:
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())


def problem(seed: int = 0, n: int = 400, sources: int = 2) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    y = truth(rng, n)
    return np.stack([weak(rng, y, 0.8 + 0.5 * s) for s in range(sources)], axis=1), y


def objective(
    monkeypatch: pytest.MonkeyPatch, P: Floats, y: Ints, prior: float
) -> Callable[[Floats], tuple[float, Floats]]:
    """Return the loss that `fit` hands to the optimiser."""
    import fusion.logpool as module

    seen: list[Any] = []
    original = module.minimize

    def spy(function: Any, *rest: Any, **options: Any) -> Any:
        seen.append(function)
        return original(function, *rest, **options)

    monkeypatch.setattr(module, "minimize", spy)
    LogPool(prior=prior).fit(P, y)
    return seen[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("prior", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_loss(seed: int, prior: float, monkeypatch: pytest.MonkeyPatch) -> None:
    P, y = problem(seed, n=50)
    loss = objective(monkeypatch, P, y, prior)
    at = np.random.default_rng(seed).normal(size=2 + K)
    gradient = loss(at)[1]
    step = 1e-6
    numeric = [(loss(at + step * e)[0] - loss(at - step * e)[0]) / (2 * step) for e in np.eye(len(at))]
    np.testing.assert_allclose(gradient, numeric, atol=1e-7)


def test_the_loss_is_the_penalised_likelihood_of_what_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    P, y = problem(n=50)
    loss = objective(monkeypatch, P, y, prior=2.0)
    pool = LogPool()
    pool.weights_, pool.biases_ = np.array([0.7, 1.2]), np.array([0.1, -0.2, 0.3, 0.0])
    penalty = 2.0 * (((pool.weights_ - 1) ** 2).sum() + (pool.biases_**2).sum())
    expected = log_loss(pool.predict_proba(P), y) + penalty / 50
    assert loss(np.concatenate([pool.weights_, pool.biases_]))[0] == pytest.approx(expected)


def test_what_is_fitted_is_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    P, y = problem(sources=3)
    loss = objective(monkeypatch, P, y, 1.0)
    pool = LogPool().fit(P, y)
    best = np.concatenate([pool.weights_, pool.biases_])
    rng = np.random.default_rng(0)
    for scale in (1e-2, 0.1, 1.0):
        for _ in range(20):
            other = best + rng.normal(size=len(best)) * scale
            other[:3] = other[:3].clip(0)
            assert loss(other)[0] > loss(best)[0] - 1e-9


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_weights_are_never_negative(seed: int, sources: int) -> None:
    rng = np.random.default_rng(seed)
    pool = LogPool(prior=0.1).fit(rng.dirichlet(np.ones(K) * 0.3, (40, sources)), truth(rng, 40))
    assert pool.weights_.shape == (sources,)
    assert pool.biases_.shape == (K,)
    assert pool.weights_.min() >= 0


def test_a_source_that_is_always_wrong_is_not_turned_round_but_muted() -> None:
    rng = np.random.default_rng(0)
    y = truth(rng, 400)
    wrong = certain((y + 1) % K)
    pool = LogPool().fit(np.stack([weak(rng, y), wrong], axis=1), y)
    assert pool.weights_[1] == pytest.approx(0, abs=1e-3)


def test_the_formula_by_hand() -> None:
    pool = LogPool()
    pool.weights_, pool.biases_ = np.array([2.0, 0.5]), np.array([0.0, np.log(3)])
    fused = pool.predict_proba(np.array([[[0.5, 0.5], [0.64, 0.36]]]))
    np.testing.assert_allclose(fused, [[0.25 * 0.8 / 0.65, 3 * 0.25 * 0.6 / 0.65]])


def test_a_strong_prior_gives_the_product_rule() -> None:
    P, y = problem()
    pool = LogPool(prior=1e9).fit(P, y)
    np.testing.assert_allclose(pool.weights_, 1, atol=1e-5)
    np.testing.assert_allclose(pool.biases_, 0, atol=1e-5)
    np.testing.assert_allclose(pool.predict_proba(P), Product().predict_proba(P), atol=1e-5)


def test_the_prior_draws_monotonously() -> None:
    P, y = problem()
    pools = [LogPool(prior=p).fit(P, y) for p in (0.1, 10, 1000)]
    away = [((p.weights_ - 1) ** 2).sum() + (p.biases_**2).sum() for p in pools]
    assert away[0] > away[1] > away[2]


def test_calibrated_independent_sources_keep_weights_near_one() -> None:
    rng = np.random.default_rng(0)
    y = truth(rng, 8000)
    P = np.stack([weak(rng, y, 1.0), weak(rng, y, 1.5)], axis=1)
    np.testing.assert_allclose(LogPool().fit(P, y).weights_, 1, atol=0.1)


def test_a_source_said_twice_counts_once() -> None:
    """The product rule counts it twice and is over-confident; the pool shares one weight."""
    rng = np.random.default_rng(0)
    y = truth(rng, 4000)
    once = weak(rng, y)
    weights = LogPool().fit(np.stack([once, once], axis=1), y).weights_
    np.testing.assert_allclose(weights.sum(), 1, atol=0.1)
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-3)


def test_the_order_of_sources_does_not_matter() -> None:
    P, y = problem(sources=3)
    plain, turned = LogPool().fit(P, y), LogPool().fit(P[:, ::-1], y)
    np.testing.assert_allclose(plain.weights_, turned.weights_[::-1], atol=1e-3)
    np.testing.assert_allclose(plain.predict_proba(P), turned.predict_proba(P[:, ::-1]), atol=1e-3)


def test_a_useless_source_does_not_hurt() -> None:
    P, y = problem(sources=1)
    new, new_y = problem(1, sources=1)
    uniform = np.full((400, 1, K), 1 / K)
    alone = LogPool().fit(P, y).predict_proba(new)
    both = LogPool().fit(np.concatenate([P, uniform], axis=1), y)
    fused = both.predict_proba(np.concatenate([new, uniform], axis=1))
    np.testing.assert_allclose(fused, alone, atol=1e-3)
    assert accuracy(fused, new_y) >= accuracy(alone, new_y) - 0.005


def test_over_confident_noise_loses_its_weight() -> None:
    rng = np.random.default_rng(0)
    y = truth(rng, 400)
    noise = certain(truth(rng, 400))
    pool = LogPool().fit(np.stack([weak(rng, y), noise], axis=1), y)
    assert pool.weights_[1] < 0.05
    assert pool.weights_[0] > 0.7


def memorised(seed: int) -> tuple[Floats, Floats, Ints, Floats, Ints]:
    """Return honest rows, in-sample rows, their labels, test rows and their labels.

    The second source memorised its training clips: certain and right there, certain and random elsewhere.
    """
    rng = np.random.default_rng(seed)
    y, test_y = truth(rng, 400), truth(rng, 2000)
    first = weak(rng, y)
    honest = np.stack([first, certain(truth(rng, 400))], axis=1)
    in_sample = np.stack([first, certain(y)], axis=1)
    test = np.stack([weak(rng, test_y), certain(truth(rng, 2000))], axis=1)
    return honest, in_sample, y, test, test_y


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("seed", range(3))
def test_noise_does_not_spoil_a_fuser_that_learned_from_honest_rows(name: str, seed: int) -> None:
    """RELIABILITY 4, case 26: fused >= the weak source alone - 0.02."""
    honest, _, y, test, test_y = memorised(seed)
    fused = accuracy(FUSERS[name]().fit(honest, y).predict_proba(test), test_y)
    assert fused >= accuracy(test[:, 0], test_y) - 0.02


@pytest.mark.parametrize("name", LEARNERS)
def test_the_noise_canary_bites_on_in_sample_rows(name: str) -> None:
    _, in_sample, y, test, test_y = memorised(0)
    fused = accuracy(FUSERS[name]().fit(in_sample, y).predict_proba(test), test_y)
    assert fused < accuracy(test[:, 0], test_y) - 0.1


@pytest.mark.parametrize("name", LEARNERS)
def test_two_weak_sources_are_better_than_each(name: str) -> None:
    P, y = problem(n=800)
    new, new_y = problem(1, n=4000)
    fused = accuracy(FUSERS[name]().fit(P, y).predict_proba(new), new_y)
    assert fused > max(accuracy(new[:, s], new_y) for s in range(2)) + 0.01


def test_over_confident_sources_are_calibrated() -> None:
    P, y = problem(n=1000)
    new, new_y = problem(1, n=1000)
    loud = [p**4 / (p**4).sum(axis=2, keepdims=True) for p in (P, new)]
    pool = LogPool().fit(loud[0], y).predict_proba(loud[1])
    assert log_loss(pool, new_y) < log_loss(Product().predict_proba(loud[1]), new_y) - 0.2
    assert log_loss(pool, new_y) < log_loss(Product().predict_proba(new), new_y) + 0.1


def test_biases_learn_what_the_sources_do_not_know_of_the_prior() -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(K, 2000, p=[0.7, 0.1, 0.1, 0.1])
    pool = LogPool(prior=0.01).fit(np.full((2000, 1, K), 1 / K), y)
    found = pool.predict_proba(np.full((1, 1, K), 1 / K))[0]
    np.testing.assert_allclose(found, np.bincount(y, minlength=K) / 2000, atol=5e-3)


def test_a_class_without_training_rows_stays_possible() -> None:
    P, y = problem()
    pool = LogPool().fit(P[y != 3], y[y != 3])
    assert np.isfinite(pool.biases_).all()
    assert 0 < pool.predict_proba(P)[:, 3].max() < 1


def test_separable_rows_give_finite_weights() -> None:
    y = np.arange(40) % K
    for prior in (0.0, 1.0):
        pool = LogPool(prior=prior).fit(np.stack([certain(y), certain(y)], axis=1), y)
        assert np.isfinite([*pool.weights_, *pool.biases_]).all()


def test_another_number_of_sources_than_in_training_is_refused() -> None:
    P, y = problem()
    pool = LogPool().fit(P, y)
    with pytest.raises((FusionError, ValueError)):
        pool.predict_proba(P[:, :1])
