"""The heads that are one scikit-learn estimator behind a scaler."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier

from classifiers import HEADS, HeadError
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


PAPER = {
    "svc-plain": ({"C": 3}, SVC(C=3)),
    "ridge": ({"alpha": 2}, RidgeClassifier(alpha=2)),
    "perceptron": ({"seed": 3}, Perceptron(random_state=3)),
    "nusvc": ({"nu": 0.2}, NuSVC(nu=0.2)),
    "linear-svc": ({"C": 0.5}, LinearSVC(C=0.5, max_iter=10000, random_state=0)),
    "knn": ({"k": 7}, KNeighborsClassifier(7)),
    "centroid": ({}, NearestCentroid()),
    "tree": ({"min_samples_split": 9}, DecisionTreeClassifier(min_samples_split=9, random_state=0)),
    "forest": ({"trees": 20}, RandomForestClassifier(20, random_state=0)),
}


@pytest.mark.parametrize("classes", ["ab", "abcd"])
@pytest.mark.parametrize("name", PAPER)
def test_the_heads_of_the_paper_decide_as_scikit_learn_does(name: str, classes: str) -> None:
    options, plain = PAPER[name]
    X, y = problem(classes=classes, n=200)
    new, _ = problem(1, classes, 200)
    ours = HEADS[name](scale="standard", **options).fit(X, y)  # type: ignore[call-arg]
    theirs = make_pipeline(StandardScaler(), plain).fit(X, y)
    np.testing.assert_array_equal(ours.predict(new), theirs.predict(new))
    likeliest = ours.classes_[ours.predict_proba(new).argmax(axis=1)]
    assert np.mean(likeliest == ours.predict(new)) > 0.97  # ties between votes apart


def test_posteriors_of_centroids_are_those_of_round_gaussians() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 5000)
    X = rng.normal(size=(10000, 2)) * 2 + np.where(y == "a", 0, 3)[:, None]
    p = HEADS["centroid"](scale="none").fit(X, y).predict_proba(np.array([[1.5, 1.5], [0.5, 1.5]]))  # type: ignore[call-arg]
    # log odds of b: (|x|^2 - |x - 3|^2) / (2 * 4)
    np.testing.assert_allclose(p[:, 1], [0.5, 1 / (1 + np.exp(0.75))], atol=0.03)


def test_what_scikit_learn_refuses_is_said_in_one_line() -> None:
    X, y = problem(classes="ab")
    y[:] = "a"
    y[:5] = "b"
    with pytest.raises(HeadError, match=r"scikit-learn refuses: .*nu"):
        HEADS["nusvc"](nu=0.9).fit(X, y)  # type: ignore[call-arg]
    with pytest.raises(HeadError, match="NaN or infinite"):
        HEADS["tree"]().fit(X * np.nan, y)


@pytest.mark.parametrize("name", ["tree", "forest"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("left_child", 10**6), ("right_child", 0), ("left_child", -7), ("feature", 99), ("feature", -1)],
)
def test_trees_whose_nodes_point_elsewhere_are_refused(
    name: str, field: str, value: int, tmp_path: Path
) -> None:
    """Such nodes would make scikit-learn read stray memory, or walk for ever."""
    X, y = problem()
    head = HEADS[name]().fit(X, y)
    tree = getattr(head.estimator_, "estimators_", [head.estimator_])[0].tree_  # type: ignore[attr-defined]
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    head.save(tmp_path)
    with pytest.raises(HeadError, match=r"head\.skops: not a saved"):
        HEADS[name].load(tmp_path)
