import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import log_loss

from fusion import FUSERS, Tempered

Rows = tuple[NDArray[np.float64], NDArray[np.int64]]


def rows(seed: int = 0, n: int = 3000) -> Rows:
    """Return calibrated posteriors of two sources and labels drawn from them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    logits = 1.5 * np.eye(3)[y][:, None] + rng.normal(size=(n, 2, 3))
    p = np.exp(1.5 * logits)  # the Bayes posterior of unit noise around 1.5
    return p / p.sum(axis=2, keepdims=True), y


def heated(P: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    return P**power / (P**power).sum(axis=2, keepdims=True)


def test_over_confidence_is_found_per_source() -> None:
    P, y = rows()
    P[:, 1] = heated(P, 3)[:, 1]
    fitted = Tempered(FUSERS["mean"]()).fit(P, y)
    np.testing.assert_allclose(fitted.temperatures_, [1, 3], rtol=0.1)


def test_a_tempered_rule_is_better_calibrated_than_the_rule() -> None:
    P, y = rows()
    new, new_y = rows(1)
    loud, loud_new = heated(P, 4), heated(new, 4)
    plain = log_loss(new_y, FUSERS["product"]().predict_proba(loud_new))
    tempered = log_loss(new_y, Tempered(FUSERS["product"]()).fit(loud, y).predict_proba(loud_new))
    assert tempered < plain - 0.2


@pytest.mark.parametrize("name", list(FUSERS))
def test_every_fuser_can_be_tempered(name: str) -> None:
    P, y = rows(n=300)
    fused = Tempered(FUSERS[name]()).fit(P, y).predict_proba(P)
    np.testing.assert_allclose(fused.sum(axis=1), 1, atol=1e-9)


def test_it_learns_even_around_a_rule_and_clones() -> None:
    tempered = Tempered(FUSERS["product"]())
    assert tempered.trainable
    P, y = rows(n=300)
    copy = clone(tempered.fit(P, y))
    assert not hasattr(copy, "temperatures_")
    alone = tempered.of([1]).fit(P[:, 1:], y)
    assert alone.temperatures_.shape == (1,)
