"""Laws that hold for every registered fuser, and the rules that need no training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone

from fusion import FUSERS, Fuser, FusionError
from fusion.contract import log_posteriors
from fusion.rules import Max, Mean, Product, Vote, Weighted


def posteriors(seed: int = 0, n: int = 60, sources: int = 2, classes: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), (n, sources))


def labels(n: int = 60, classes: int = 3) -> NDArray[np.int64]:
    return np.arange(n) % classes


def fitted(name: str, P: NDArray[np.float64] | None = None) -> Fuser:
    P = posteriors() if P is None else P
    return FUSERS[name]().fit(P, labels(len(P), P.shape[2]))


@pytest.fixture(params=list(FUSERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_fusers_of_the_design_are_registered() -> None:
    assert {"mean", "product", "max", "vote", "weighted"} <= set(FUSERS)
    assert {"logpool", "logistic", "svc", "mlp", "mmer"} <= set(FUSERS)


@pytest.mark.parametrize("sources", [1, 2, 5])
@pytest.mark.parametrize("classes", [2, 8])
def test_fused_posteriors_are_distributions(name: str, sources: int, classes: int) -> None:
    fuser = fitted(name, posteriors(sources=sources, classes=classes))
    fused = fuser.predict_proba(posteriors(1, 17, sources, classes))
    assert fused.shape == (17, classes)
    assert fused.min() >= 0
    np.testing.assert_allclose(fused.sum(axis=1), 1, atol=1e-9)


def test_zeros_and_ones_stay_finite(name: str) -> None:
    certain = np.eye(3)[np.random.default_rng(0).integers(0, 3, (60, 2))]
    for fuser in (fitted(name), fitted(name, certain)):
        fused = fuser.predict_proba(certain)
        assert np.isfinite(fused).all()
        np.testing.assert_allclose(fused.sum(axis=1), 1, atol=1e-9)


def test_rows_do_not_depend_on_each_other(name: str) -> None:
    fuser, P = fitted(name), posteriors(2, 20)
    order = np.random.default_rng(0).permutation(20)
    together = fuser.predict_proba(P)
    np.testing.assert_allclose(fuser.predict_proba(P[order]), together[order], atol=1e-12)
    apart = np.concatenate([fuser.predict_proba(row[None]) for row in P])
    np.testing.assert_allclose(apart, together, atol=1e-12)


def test_fitting_twice_gives_the_same(name: str) -> None:
    P = posteriors(3)
    np.testing.assert_array_equal(fitted(name).predict_proba(P), fitted(name).predict_proba(P))


def test_the_order_of_training_rows_does_not_matter(name: str) -> None:
    P, y = posteriors(), labels()
    order = np.random.default_rng(1).permutation(len(P))
    groups = np.array([f"s{i // 6}" for i in range(len(P))])
    one = FUSERS[name]().fit(P, y, groups.tolist())
    other = FUSERS[name]().fit(P[order], y[order], groups[order].tolist())
    np.testing.assert_allclose(one.predict_proba(P), other.predict_proba(P), atol=1e-3)


def test_the_callers_arrays_are_never_written_to(name: str) -> None:
    P, y = posteriors(), labels()
    P_before, y_before = P.copy(), y.copy()
    FUSERS[name]().fit(P, y).predict_proba(P)
    np.testing.assert_array_equal(P, P_before)
    np.testing.assert_array_equal(y, y_before)


def test_the_constructor_only_stores_and_clones(name: str) -> None:
    fuser = FUSERS[name]()
    assert vars(fuser) == fuser.get_params(deep=False)
    fuser.fit(posteriors(), labels())
    copy = clone(fuser)
    assert vars(copy) == fuser.get_params(deep=False)


def test_fit_returns_the_fuser_itself(name: str) -> None:
    fuser = FUSERS[name]()
    assert fuser.fit(posteriors(), labels()) is fuser


@pytest.mark.parametrize("rule", [n for n in FUSERS if not FUSERS[n].trainable])
def test_what_is_not_trainable_needs_no_fit(rule: str) -> None:
    P = posteriors()
    np.testing.assert_array_equal(FUSERS[rule]().predict_proba(P), fitted(rule).predict_proba(P))


def test_agreeing_sources_are_believed(name: str) -> None:
    y = labels(300)
    sharp = 0.7 * np.eye(3)[y] + 0.1
    P = np.stack([sharp, sharp], axis=1)
    fused = FUSERS[name]().fit(P, y).predict_proba(P)
    np.testing.assert_array_equal(fused.argmax(axis=1), y)


P_BY_HAND = np.array([[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]])


def test_mean_by_hand() -> None:
    np.testing.assert_allclose(Mean().predict_proba(P_BY_HAND), [[0.3, 0.45, 0.25]])


def test_max_by_hand() -> None:
    np.testing.assert_allclose(Max().predict_proba(P_BY_HAND), np.array([[0.5, 0.6, 0.3]]) / 1.4)


def test_vote_by_hand() -> None:
    """Two against one, however sure the one is; between equals the mean posterior decides."""
    two_against_one = np.array([[[0.98, 0.02], [0.4, 0.6], [0.4, 0.6]]])
    assert Vote().predict_proba(two_against_one).argmax(axis=1) == [1]
    assert Vote().predict_proba(P_BY_HAND).argmax(axis=1) == [1]
    np.testing.assert_allclose(Vote().predict_proba(P_BY_HAND), [[1.15 / 2.5, 1.225 / 2.5, 0.125 / 2.5]])


def test_weighted_by_hand() -> None:
    np.testing.assert_allclose(Weighted([3, 1]).predict_proba(P_BY_HAND), [[0.4, 0.375, 0.225]])
    np.testing.assert_array_equal(Weighted([3, 1]).of([1]).predict_proba(P_BY_HAND[:, 1:]), P_BY_HAND[:, 1])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_that_make_no_mean_are_refused(weights: list[float]) -> None:
    with pytest.raises(FusionError, match="for 2 sources; expected one per source"):
        Weighted(weights).predict_proba(P_BY_HAND)
    with pytest.raises(FusionError, match="1 weights for 2 sources"):
        Weighted([1.0]).of([0, 1])


def test_product_by_hand() -> None:
    expected = np.array([[0.05, 0.18, 0.06]]) / 0.29
    np.testing.assert_allclose(Product().predict_proba(P_BY_HAND), expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 8))
def test_product_is_the_normalised_product(seed: int, sources: int, classes: int) -> None:
    P = posteriors(seed, 5, sources, classes).clip(1e-4)
    product = P.prod(axis=1)
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Product().predict_proba(P), expected, rtol=1e-9)


@pytest.mark.parametrize("rule", [Mean, Product, Max])
def test_one_source_alone_stays_as_it_is(rule: type[Fuser]) -> None:
    P = posteriors(sources=1).clip(1e-4)
    P /= P.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(rule().predict_proba(P), P[:, 0], atol=1e-9)


@pytest.mark.parametrize("rule", [Mean, Product, Max])
def test_the_order_of_sources_does_not_matter(rule: type[Fuser]) -> None:
    P = posteriors(sources=4)
    np.testing.assert_allclose(rule().predict_proba(P), rule().predict_proba(P[:, ::-1]), atol=1e-12)


def test_a_uniform_source_does_not_change_the_product() -> None:
    P = posteriors().clip(1e-4)
    more = np.concatenate([P, np.full((len(P), 1, 3), 1 / 3)], axis=1)
    np.testing.assert_allclose(Product().predict_proba(more), Product().predict_proba(P), atol=1e-9)


def test_one_zero_is_no_veto_for_ever() -> None:
    """One source excludes class 0; two others that are sure of it outvote the first."""
    excludes, sure = [0.0, 0.6, 0.4], [1 - 2e-6, 1e-6, 1e-6]
    fused = Product().predict_proba(np.array([[excludes, sure, sure]]))
    assert fused[0].argmax() == 0
    assert fused[0, 0] > 0.99


def test_zeros_of_all_sources_leave_a_distribution() -> None:
    P = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    np.testing.assert_allclose(Product().predict_proba(P), [[0.5, 0.5]])


def test_logarithms_are_floored_and_otherwise_exact() -> None:
    logs = log_posteriors(np.array([0.0, 1e-300, 0.25, 1.0]))
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(logs[2:], [np.log(0.25), 0])
    assert logs[0] == logs[1] < np.log(1e-5)
