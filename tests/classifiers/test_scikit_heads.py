"""The heads that are one scikit-learn estimator behind a scaler."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from classifiers import HEADS
from classifiers.logistic import LogisticHead
from classifiers.mlp import MLPHead

SCALERS = {"minmax": MinMaxScaler, "standard": StandardScaler}


def problem(seed: int = 0, classes: str = "abc", n: int = 90) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(classes), n)
    X = rng.normal(size=(n, 5)) * [1, 10, 0.1, 1, 1] + y[:, None] * [1, 5, 0.1, 0, -1] + [0, 100, 0, 3, 0]
    return X, np.array(list(classes))[y]


@pytest.mark.parametrize("scale", ["minmax", "standard"])
@pytest.mark.parametrize("classes", ["ab", "abcd"])
def test_logistic_is_scikit_learns_behind_the_scaler(scale: str, classes: str) -> None:
    X, y = problem(classes=classes)
    ours = LogisticHead(C=0.3, scale=scale).fit(X, y)  # type: ignore[arg-type]
    theirs = make_pipeline(SCALERS[scale](), LogisticRegression(C=0.3, max_iter=10000)).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("hidden", [(80,), (20, 10)])
def test_mlp_is_scikit_learns_behind_the_scaler(hidden: tuple[int, ...]) -> None:
    X, y = problem()
    ours = MLPHead(hidden=hidden, max_iter=40, seed=3).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = MLPClassifier(hidden_layer_sizes=hidden, max_iter=40, random_state=3, alpha=1e-4)
        theirs = make_pipeline(MinMaxScaler(), plain).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-12)


def test_mlp_defaults_are_those_of_the_paper() -> None:
    """SYSTEMS 2.5, no. 11: one layer of 80, relu, Adam 1e-3, at most 200 epochs, alpha 1e-4, MinMax."""
    estimator = MLPHead().estimator()
    found = {
        name: getattr(estimator, name)
        for name in ("hidden_layer_sizes", "activation", "solver", "learning_rate_init", "max_iter", "alpha")
    }
    assert found == {
        "hidden_layer_sizes": (80,),
        "activation": "relu",
        "solver": "adam",
        "learning_rate_init": 1e-3,
        "max_iter": 200,
        "alpha": 1e-4,
    }
    assert MLPHead().scale == "minmax"


def test_logistic_iterates_as_often_as_the_paper() -> None:
    assert LogisticHead().estimator().max_iter == 10000


def test_a_list_of_layers_is_as_good_as_a_tuple() -> None:
    X, y = problem()
    listed, tupled = MLPHead(hidden=[8], max_iter=5).fit(X, y), MLPHead(hidden=(8,), max_iter=5).fit(X, y)
    np.testing.assert_array_equal(listed.predict_proba(X), tupled.predict_proba(X))


def test_reaching_max_iter_says_nothing() -> None:
    X, y = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPHead(max_iter=2).fit(X, y)


@pytest.mark.parametrize("name", ["logistic", "mlp"])
@pytest.mark.parametrize("scale", ["minmax", "standard"])
def test_the_scaler_knows_the_training_clips_alone(name: str, scale: str) -> None:
    X, y = problem()
    head = HEADS[name](scale=scale).fit(X[:60], y[:60])  # type: ignore[call-arg]
    alone = head.predict_proba(X[60:61])
    outliers = np.vstack([X[60:61], np.full((30, 5), 1e6)])
    np.testing.assert_allclose(head.predict_proba(outliers)[0], alone[0], atol=1e-12)
    expected = SCALERS[scale]().fit(X[:60])
    np.testing.assert_allclose(head.scaler_.scale_, expected.scale_)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_one_subject_is_enough_where_nothing_is_held_out(name: str) -> None:
    X, y = problem()
    assert HEADS[name]().fit(X, y, ["s"] * len(y)).predict_proba(X).shape == (90, 3)


def test_the_seed_moves_the_perceptron_but_not_the_regression() -> None:
    X, y = problem()
    mlp = [MLPHead(max_iter=5, seed=s).fit(X, y).predict_proba(X) for s in (0, 1)]
    logistic = [LogisticHead(seed=s).fit(X, y).predict_proba(X) for s in (0, 1)]
    assert np.abs(mlp[0] - mlp[1]).max() > 1e-3
    np.testing.assert_array_equal(logistic[0], logistic[1])
