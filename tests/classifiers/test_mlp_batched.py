"""The batched perceptron against scikit-learn's, number by number."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from classifiers import HEADS, HeadError
from classifiers.mlp_batched import BatchedMLPHead
from classifiers.stacked import Network, Problem, predict, train


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clips(
    n: int = 500, width: int = 12, seed: int = 0, apart: float = 0.8
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 4
    X = rng.normal(size=(n, width)) + apart * rng.normal(size=(4, width))[y]
    return X.astype(np.float32), np.array(list("abcd"))[y]


def theirs(X: NDArray[np.float32], y: NDArray[np.str_], **options: object) -> MLPClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPClassifier(**options).fit(X, y)  # type: ignore[arg-type]


SCALERS = {"minmax": MinMaxScaler, "standard": StandardScaler}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("hidden", [(20,), (16, 8), ()])
@pytest.mark.parametrize("scale", ["minmax", "standard"])
@pytest.mark.parametrize("n", [90, 400, 530])
def test_it_learns_what_scikit_learns_learns(
    hidden: tuple[int, ...], scale: str, n: int, classes: int
) -> None:
    """Same random numbers, same batches, same steps: the losses agree epoch by epoch."""
    X, y = clips(n)
    y = np.array(list("abcd"))[np.searchsorted(list("abcd"), y) % classes]
    ours = BatchedMLPHead(hidden, scale, alpha=0.01, max_iter=30, seed=5).fit(X, y)  # type: ignore[arg-type]
    scaled = SCALERS[scale]().fit_transform(X.astype(np.float64)).astype(np.float32)
    plain = theirs(scaled, y, hidden_layer_sizes=hidden, alpha=0.01, max_iter=30, random_state=5)
    assert len(ours.loss_curve_) == len(plain.loss_curve_)
    np.testing.assert_allclose(ours.loss_curve_, plain.loss_curve_, rtol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), plain.predict_proba(scaled), atol=5e-3)


def test_it_stops_in_the_same_epoch() -> None:
    X, y = clips(apart=3)
    ours = BatchedMLPHead((30,), "none", max_iter=400, seed=1).fit(X, y)
    plain = theirs(X, y, hidden_layer_sizes=(30,), max_iter=400, random_state=1)
    assert plain.n_iter_ < 400
    assert abs(len(ours.loss_curve_) - plain.n_iter_) <= 1


def parts(n: int) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(2)
    return [np.sort(rng.permutation(n)[:size]) for size in (450, 300, 450, 120, 390)]


def test_companions_do_not_change_a_network() -> None:
    """Batches of other sizes, other numbers of batches, others that stop before: the same as alone."""
    X, y = clips(apart=3)
    rows = parts(len(X))
    together = [BatchedMLPHead((30,), "none", max_iter=300, seed=s) for s in range(5)]
    BatchedMLPHead.fit_many(together, X, y, rows)
    epochs = [len(h.loss_curve_) for h in together]
    assert len(set(epochs)) > 1  # some left the stack while others went on
    for head, own, seed in zip(together, rows, range(5), strict=True):
        alone = BatchedMLPHead((30,), "none", max_iter=300, seed=seed).fit(X[own], y[own])
        assert abs(len(alone.loss_curve_) - len(head.loss_curve_)) <= 1
        same = head.predict_proba(X).argmax(axis=1) == alone.predict_proba(X).argmax(axis=1)
        assert same.mean() > 0.98


def test_networks_with_other_classes_learn_their_own() -> None:
    X, y = clips()
    lacking = np.flatnonzero(y != "c")
    heads = [BatchedMLPHead((8,), max_iter=5) for _ in range(2)]
    BatchedMLPHead.fit_many(heads, X, y, [np.arange(len(X)), lacking])
    assert heads[0].classes_.tolist() == list("abcd")
    assert heads[1].classes_.tolist() == list("abd")
    assert heads[1].predict_proba(X).shape == (500, 3)


def test_options_out_of_range_are_refused() -> None:
    X, y = clips(40)
    for options in ({"hidden": [0]}, {"max_iter": 0}):
        with pytest.raises(HeadError, match="expected 1 or more of each"):
            HEADS["mlp-batched"](**options).fit(X, y)


def test_posteriors_of_large_logits_are_finite() -> None:
    network = Network([np.full((1, 2), 1e30, np.float32)], [np.array([0, 1e30], np.float32)], [])
    np.testing.assert_array_equal(predict(network, np.ones((1, 1), np.float32)), [[0, 1]])


def test_the_order_of_problems_is_the_order_of_networks() -> None:
    X, y = clips()
    index = np.searchsorted(np.array(list("abcd")), y)
    rows = parts(len(X))
    problems = [Problem(r, index[r], np.zeros(12), np.ones(12), s) for s, r in enumerate(rows)]
    forth = train(X, problems, (6,), 4, 1e-4, 3)
    back = train(X, problems[::-1], (6,), 4, 1e-4, 3)[::-1]
    for one, other in zip(forth, back, strict=True):
        np.testing.assert_allclose(one.weights[0], other.weights[0], atol=1e-5)
