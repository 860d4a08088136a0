"""Support vectors, calibrated and chosen on held-out subjects."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from classifiers import HeadError
from classifiers.svc import SVCHead, _decisions

Data = tuple[NDArray[np.float32], NDArray[np.str_], NDArray[np.str_]]


def separated(seed: int = 0, classes: str = "abcd", subjects: int = 8, clips: int = 5) -> Data:
    """Return clips of classes that lie well apart, the same in every subject."""
    rng = np.random.default_rng(seed)
    y = np.tile(np.arange(len(classes)), subjects * clips)
    centres = np.random.default_rng(99).normal(size=(len(classes), 6)) * 3
    X = centres[y] + rng.normal(size=(len(y), 6))
    owners = np.repeat(np.arange(subjects), len(classes) * clips)
    return X.astype(np.float32), np.array(list(classes))[y], owners.astype(str)


def subject_only(seed: int) -> Data:
    """Return clips that tell who speaks; the label is the speaker's, the same for all of his clips."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(45), 5)
    y = rng.permutation(np.arange(45) % 3)[owners]
    places = rng.normal(size=(45, 2)) * 3
    X = places[owners] + rng.normal(size=(len(owners), 2)) * 0.2
    return X.astype(np.float32), np.array(list("abc"))[y], owners.astype(str)


def signal_and_fingerprint(seed: int) -> Data:
    """Return one feature that tells the label, and three that tell the speaker, sharper."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(60), 5)
    y = rng.permutation(np.arange(60) % 2)[owners]
    signal = y * 1.5 + rng.normal(size=len(owners)) * 0.8
    places = rng.normal(size=(60, 3)) * 2
    prints = places[owners] + rng.normal(size=(len(owners), 3)) * 0.05
    return np.column_stack([signal, prints]).astype(np.float32), np.array(["a", "b"])[y], owners.astype(str)


def log_loss(head: SVCHead, X: NDArray[Any], y: NDArray[np.str_]) -> float:
    p = head.predict_proba(X)
    return float(-np.log(p[np.arange(len(y)), np.searchsorted(head.classes_, y)]).mean())


@pytest.mark.parametrize("classes", ["ab", "abcd", "abcdefgh"])
def test_predictions_are_scikit_learns_on_a_separated_problem(classes: str) -> None:
    X, y, groups = separated(classes=classes)
    new, truth, _ = separated(1, classes)
    head = SVCHead(C=1.0).fit(X, y, groups)
    scaler = StandardScaler().fit(X)
    theirs = SVC(C=1.0, kernel="rbf", gamma="scale").fit(scaler.transform(X), y)
    assert np.mean(head.predict(new) == theirs.predict(scaler.transform(new))) >= 0.97
    assert np.mean(head.predict(new) == truth) > 0.85


@pytest.mark.parametrize("classes", ["ab", "abcd"])
@pytest.mark.parametrize("scale", ["none", "standard", "minmax"])
@pytest.mark.parametrize("offset", [0, 1000])
def test_decisions_are_scikit_learns(
    classes: str, scale: Any, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y, groups = separated(classes=classes)
    X, new = X + np.float32(offset), separated(1, classes)[0] + np.float32(offset)
    head = SVCHead(C=3.0, scale=scale).fit(X, y, groups)
    seen: list[NDArray[np.float64]] = []

    def spy(machine: SVC, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
        seen.append(_decisions(machine, kernel))
        return seen[-1]

    monkeypatch.setattr("classifiers.svc._decisions", spy)
    head.predict_proba(new)
    data = np.asarray(X, dtype=np.float64), np.asarray(new, dtype=np.float64)
    train, test = data if head.scaler_ is None else [head.scaler_.transform(d) for d in data]
    theirs = SVC(C=3.0, kernel="rbf", gamma=head.gamma_, decision_function_shape="ovo").fit(train, y)
    expected = theirs.decision_function(test)
    expected = -expected[:, None] if len(classes) == 2 else expected
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)


def test_the_kept_support_vectors_are_all_that_predictions_need() -> None:
    X, y, groups = separated()
    head = SVCHead().fit(X, y, groups)
    assert len(head.support_vectors_) == len(head.machine_.support_) < len(X)
    expected = head.scaler_.transform(X)[head.machine_.support_]
    np.testing.assert_allclose(head.support_vectors_, expected, atol=1e-6)


def test_gamma_scale_is_scikit_learns_number() -> None:
    X, y, groups = separated()
    for scale in ("none", "minmax", "standard"):
        head = SVCHead(scale=scale).fit(X, y, groups)  # type: ignore[arg-type]
        data = np.asarray(X, dtype=np.float64)
        data = data if head.scaler_ is None else head.scaler_.transform(data)
        theirs = SVC(gamma="scale").fit(data, y)
        assert head.gamma_ == pytest.approx(theirs._gamma, rel=1e-12)


def test_a_number_for_gamma_is_taken_as_it_is() -> None:
    X, y, groups = separated()
    assert SVCHead(gamma=0.123).fit(X, y, groups).gamma_ == 0.123


def test_the_choice_is_one_of_the_lists() -> None:
    X, y, groups = separated()
    head = SVCHead(C=[0.1, 1, 10], gamma=["scale", 0.01]).fit(X, y, groups)
    assert head.C_ in (0.1, 1, 10)
    assert any(head.gamma_ == pytest.approx(g) for g in (0.01, 1 / 6))


def test_one_choice_equals_no_choice() -> None:
    X, y, groups = separated()
    listed, plain = SVCHead(C=[2.0], gamma=["scale"]), SVCHead(C=2.0)
    a, b = (h.fit(X, y, groups).predict_proba(X) for h in (listed, plain))
    np.testing.assert_array_equal(a, b)


def test_the_choice_is_the_candidate_that_is_best_when_alone() -> None:
    """The loss of the choice is that of calibrated posteriors; a hopeless candidate never wins."""
    X, y, groups = separated()
    assert SVCHead(C=1.0, gamma=[1e-9, "scale", 1e6]).fit(X, y, groups).gamma_ == pytest.approx(1 / 6)


@pytest.mark.parametrize("seed", range(3))
def test_a_signal_of_the_subject_alone_gives_posteriors_near_uniform(seed: int) -> None:
    X, y, groups = subject_only(seed)
    new, truth, _ = subject_only(seed + 100)
    head = SVCHead(C=[1, 10], gamma=[0.3, 3.0]).fit(X, y, groups)
    assert head.predict_proba(new).max(axis=1).mean() < 0.55
    assert log_loss(head, new, truth) < np.log(3) + 0.2


@pytest.mark.parametrize("seed", range(3))
def test_the_canary_bites_without_groups(seed: int) -> None:
    """Held-out clips of subjects that stand on both sides make the same data look certain."""
    X, y, _ = subject_only(seed)
    new, truth, _ = subject_only(seed + 100)
    head = SVCHead(C=[1, 10], gamma=[0.3, 3.0]).fit(X, y, groups=None)
    assert head.predict_proba(new).max(axis=1).mean() > 0.65
    assert log_loss(head, new, truth) > np.log(3) + 0.5


@pytest.mark.parametrize("seed", range(3))
def test_held_out_subjects_choose_the_signal_and_not_the_fingerprint(seed: int) -> None:
    X, y, groups = signal_and_fingerprint(seed)
    candidates: dict[str, Any] = {"C": [1, 30], "gamma": [0.02, 3.0], "scale": "none"}
    honest = SVCHead(**candidates).fit(X, y, groups)
    fooled = SVCHead(**candidates).fit(X, y, groups=None)
    assert honest.gamma_ == 0.02
    assert fooled.gamma_ == 3.0  # the test bites
    new, truth, _ = signal_and_fingerprint(seed + 100)
    assert np.mean(honest.predict(new) == truth) > np.mean(fooled.predict(new) == truth) + 0.05


def test_random_labels_give_posteriors_near_the_prior() -> None:
    X, _, groups = separated()
    y = np.random.default_rng(5).permutation(np.tile(list("ab"), len(X) // 2))
    assert SVCHead(C=10.0).fit(X, y, groups).predict_proba(X).max(axis=1).mean() < 0.65


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_two_classes_point_the_right_way(order: tuple[str, str]) -> None:
    X, y, groups = separated(classes="ab")
    named = np.where(y == "a", *order)
    head = SVCHead().fit(X, named, groups)
    p = head.predict_proba(X)
    assert p[named == "a", 0].mean() > 0.8
    assert p[named == "b", 1].mean() > 0.8


def test_posteriors_are_calibrated_on_new_subjects() -> None:
    rng = np.random.default_rng(6)

    def overlapping(n: int) -> Data:
        y = rng.integers(0, 3, n)
        return (
            (y[:, None] * [1.0, 0.5] + rng.normal(size=(n, 2))).astype(np.float32),
            np.array(list("abc"))[y],
            (np.arange(n) % 12).astype(str),
        )

    head = SVCHead().fit(*overlapping(360))
    new, truth, _ = overlapping(2000)
    confidence, right = head.predict_proba(new).max(axis=1), head.predict(new) == truth
    assert abs(confidence.mean() - right.mean()) < 0.05


def test_constant_features_are_refused() -> None:
    X, y, groups = separated()
    with pytest.raises(HeadError, match="every feature is constant"):
        SVCHead().fit(np.full_like(X, 7), y, groups)


def test_some_constant_features_do_no_harm() -> None:
    X, y, groups = separated()
    padded = np.column_stack([X, np.full(len(X), 5, np.float32)])
    p = SVCHead().fit(padded, y, groups).predict_proba(padded)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_the_seed_decides_the_parts_alone() -> None:
    X, y, groups = separated()
    heads = [SVCHead(seed=s, parts=3).fit(X, y, groups) for s in (0, 1)]
    np.testing.assert_array_equal(heads[0].support_vectors_, heads[1].support_vectors_)
    assert not np.array_equal(heads[0].sigmoids_, heads[1].sigmoids_)


def test_the_kernel_is_that_of_squared_distances() -> None:
    X, y, groups = separated()
    head = SVCHead(gamma=0.2, scale="none").fit(X, y, groups)
    kernel = np.exp(-0.2 * euclidean_distances(X.astype(np.float64), squared=True))
    theirs = SVC(C=1.0, kernel="precomputed", decision_function_shape="ovo").fit(kernel, y)
    np.testing.assert_allclose(head.machine_.decision_function(kernel), theirs.decision_function(kernel))


def rare_class(owners: list[str]) -> Data:
    """Return a well-separated third class that only some subjects have."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"s{i:02}" for i in range(12)], 12)
    y = np.tile(list("aabbaabbabab"), 12)
    for owner in owners:
        y[groups == owner] = list("ccccccccaabb")
    centres = {"a": (0, 0), "b": (4, 0), "c": (0, 4)}
    X = np.array([centres[c] for c in y]) + rng.normal(size=(len(y), 2)) * 0.3
    return X.astype(np.float32), y, groups


@pytest.mark.parametrize(
    ("owners", "seed"), [(["s00"], 0), (["s00", "s01"], 7)], ids=["one subject", "two that meet"]
)
def test_a_rare_class_is_found_or_refused(owners: list[str], seed: int) -> None:
    try:
        head = SVCHead(seed=seed).fit(*rare_class(owners))
    except HeadError as error:
        assert "'c'" in str(error)
        return
    assert head.predict(np.array([[0, 4]])).tolist() == ["c"]


def test_a_rare_class_of_two_subjects_apart_is_found() -> None:
    head = SVCHead(seed=0).fit(*rare_class(["s00", "s01"]))
    assert head.predict_proba(np.array([[0, 4]]))[0, 2] > 0.8


@pytest.mark.parametrize("name", ["C", "gamma"])
def test_an_empty_list_of_candidates_is_refused(name: str) -> None:
    make: Callable[..., SVCHead] = SVCHead
    with pytest.raises(HeadError, match=name):
        make(**{name: []}).fit(*separated())
