"""What the stackers promise beyond the laws of all fusers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler

from fusion import FUSERS, FusionError
from fusion.mmer import MMERFusion
from fusion.svc import SVCStacking


def test_the_recipe_of_mmer_takes_the_columns_as_they_are() -> None:
    """By hand: 2 x 3 raw columns, min-max, logistic regression with C = 1."""
    rng = np.random.default_rng(0)
    raw, y = rng.normal(size=(90, 2, 3)) * 5, np.arange(90) % 3
    raw[:, 0] += 4 * np.eye(3)[y]
    scaler = MinMaxScaler().fit(raw.reshape(90, 6))
    by_hand = LogisticRegression(C=1, max_iter=10000).fit(scaler.transform(raw.reshape(90, 6)), y)
    new = rng.normal(size=(20, 2, 3))
    expected = by_hand.predict_proba(scaler.transform(new.reshape(20, 6)))
    assert MMERFusion.raw
    np.testing.assert_allclose(MMERFusion().fit(raw, y).predict_proba(new), expected, atol=1e-9)


def test_a_class_without_training_rows_gets_nothing() -> None:
    P = np.random.default_rng(0).dirichlet(np.ones(3), (60, 2))
    y = np.arange(60) % 2
    for name in ("logistic", "mlp", "mmer", "svc"):
        fused = FUSERS[name]().fit(P, y).predict_proba(P)
        assert fused.shape == (60, 3)
        assert (fused[:, 2] == 0).all()


def test_one_class_is_refused() -> None:
    P = np.full((4, 2, 2), 0.5)
    for name in ("logistic", "mlp", "mmer", "svc"):
        with pytest.raises(FusionError, match="of one class"):
            FUSERS[name]().fit(P, np.zeros(4, dtype=np.int64))


def test_calibration_holds_out_whole_subjects() -> None:
    """Subjects that repeat one row tell nothing about others; clips held out would be known by heart."""
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(30), 10)
    P = np.repeat(rng.dirichlet(np.ones(2), (30, 1)), 10, axis=0)
    y = np.repeat(rng.permutation(np.arange(30) % 2), 10)
    by_subject = SVCStacking(C=1000, gamma=1000).fit(P, y, owners.astype(str).tolist()).predict_proba(P)
    by_clip = SVCStacking(C=1000, gamma=1000).fit(P, y).predict_proba(P)
    rows = np.arange(len(y))
    assert by_clip[rows, y].mean() > 0.9
    assert by_subject[rows, y].mean() < 0.8


def test_a_class_of_one_subject_cannot_be_calibrated() -> None:
    P = np.random.default_rng(0).dirichlet(np.ones(2), (20, 1))
    y = np.r_[np.ones(10, dtype=np.int64), np.zeros(10, dtype=np.int64)]
    with pytest.raises(FusionError, match="too few training subjects"):
        SVCStacking().fit(P, y, ["a"] * 10 + ["b"] * 10)
