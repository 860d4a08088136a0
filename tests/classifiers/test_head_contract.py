"""Laws that hold for every registered head."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from numpy.typing import NDArray
from sklearn.base import clone

import fusion  # noqa: F401  # its heads are registered too
from affectstack import AffectstackError
from affectstack.concordance import concordance
from classifiers import HEADS, Frames, Head, HeadError
from classifiers.contract import StaticHead, check_classes, held_out_parts
from classifiers.network_head import NetworkHead

# Settings that make a head quick to train; a head that is not named here is tested as it is.
QUICK: dict[str, dict[str, Any]] = {
    "bilstm": {"hidden": 8, "max_epochs": 4},
    "mlp": {"max_iter": 60},
    "mlp-regression": {"max_iter": 60},
    "dense-dropout": {"hidden": (32,), "dropout": 0.2, "max_epochs": 4},
    "mel-cnn": {"channels": (8, 8), "hidden": 8, "max_epochs": 4},
    "concat": {"hidden": (32, 16), "channels": (8, 8), "joined": 16, "dropout": 0.2, "max_epochs": 4},
    "temporal-cnn": {"max_epochs": 3, "milestones": ()},
    "self-attention": {"max_epochs": 3, "milestones": ()},
    "versatile": {
        "width": 16, "heads": 2, "layers": 1, "shared_layers": 1, "kernel": 3, "bottleneck": 8,
        "lr": 3e-3, "max_epochs": 4, "batch": 8,
    },
}  # fmt: skip
# Settings that let a head learn that four epochs teach little; its own tests train it further.
ENOUGH: dict[str, dict[str, Any]] = {
    "bilstm": {"max_epochs": 15, "lr": 1e-2},
    "dense-dropout": {"max_epochs": 15, "lr": 1e-2},
    "mel-cnn": {"max_epochs": 15, "lr": 1e-2},
    "concat": {"max_epochs": 15, "lr": 1e-2},
    "temporal-cnn": {"max_epochs": 8},
    "self-attention": {"max_epochs": 8},
    "versatile": {"max_epochs": 15},
}
CASES = [(name, task) for name in HEADS for task in sorted(HEADS[name].tasks)]
OF_CLASSES = [name for name in HEADS if "classes" in HEADS[name].tasks]
STATIC = [name for name in HEADS if issubclass(HEADS[name], StaticHead)]
NETWORKS = ["bilstm", *(name for name in HEADS if issubclass(HEADS[name], NetworkHead))]
HOLDS_SUBJECTS_OUT = ["svc", *NETWORKS]
CLASSES = ["sad", "happy", "angry"]  # not in alphabetical order

LABELS = np.tile(CLASSES, 16)
SUBJECTS = np.repeat([f"s{i}" for i in range(8)], 6)
VALUES = pd.DataFrame(  # not in alphabetical order, of other means and spreads
    np.random.default_rng(9).normal(size=(len(LABELS), 2)) * [1, 5] + [3, -2], columns=["valence", "arousal"]
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quick(name: str, **options: Any) -> Head:
    return HEADS[name](**{**QUICK.get(name, {}), **options})


def task_of(head: Head) -> str:
    return "classes" if "classes" in head.tasks else "values"


def truth(task: str) -> Any:
    return LABELS if task == "classes" else VALUES


def fit(head: Head, X: Any, task: str = "", groups: Any = SUBJECTS) -> Any:
    """Fit a head for a task, or the first that it has."""
    return head.fit(X, truth(task or task_of(head)), groups)


def said(head: Head, X: Any) -> NDArray[np.float64]:
    """Return posteriors, or values, whatever it was trained on."""
    return head.predict_proba(X) if hasattr(head, "classes_") else head.predict_values(X)


def features(head: Head, seed: int = 0, task: str = "") -> Any:
    """Return clips in which the class, or the values, are, under noise."""
    rng = np.random.default_rng(seed)
    if (task or task_of(head)) == "classes":
        middles = dict(zip(CLASSES, rng.normal(size=(len(CLASSES), 4)) * 2, strict=True))
        centres = np.array([middles[c] for c in LABELS])
        noise = 1.0
    else:
        centres = ((VALUES - VALUES.mean()) / VALUES.std()).to_numpy() @ [[2, 0, 1, 0], [0, 2, 0, -1]]
        noise = 0.5

    def vectors() -> NDArray[np.float32]:
        return np.array([c + noise * rng.normal(size=4) for c in centres], dtype=np.float32)

    def sequences() -> list[NDArray[np.float32]]:
        lengths = rng.integers(1, 9, len(LABELS))
        made = [c + noise * rng.normal(size=(t, 4)) for c, t in zip(centres, lengths, strict=True)]
        return [x.astype(np.float32) for x in made]

    def frames() -> list[Frames]:
        rows = [(x, np.arange(len(x) + 1.0)) for x in sequences()]
        return [Frames(x, np.column_stack([t[:-1], t[1:]]), np.ones(len(x), np.bool_)) for x, t in rows]

    if head.inputs:
        kinds: dict[str, Any] = {"static": lambda: list(vectors()), "sequence": sequences, "frames": frames}
        return list(zip(*(kinds[kind]() for kind in head.inputs), strict=True))
    return sequences() if head.sequence else vectors()


def chosen(X: Any, rows: NDArray[Any]) -> Any:
    return [X[i] for i in rows] if isinstance(X, list) else X[rows]


def arrays_of(clip: Any) -> tuple[NDArray[Any], ...]:
    parts = clip if isinstance(clip, tuple) else (clip,)
    return tuple(part.values if isinstance(part, Frames) else part for part in parts)


def with_array(clip: Any, place: int, array: NDArray[Any]) -> Any:
    """Return a clip one of whose arrays is another."""
    if not isinstance(clip, tuple):
        return array
    return tuple(replaced(x, array) if i == place else x for i, x in enumerate(clip))


def replaced(part: Any, array: NDArray[Any]) -> Any:
    return part._replace(values=array) if isinstance(part, Frames) else array


def every_array() -> list[tuple[str, int]]:
    """Return heads with the place of each array that a clip of theirs has."""
    return [(name, place) for name in HEADS for place in range(max(len(HEADS[name].inputs), 1))]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def trained(request: pytest.FixtureRequest) -> tuple[Head, Any]:
    """Every head on everything that it can predict."""
    name, task = request.param
    head = quick(name)
    X = features(head, task=task)
    return fit(head, X, task), X


@pytest.fixture(scope="module", params=OF_CLASSES)
def fitted(request: pytest.FixtureRequest) -> tuple[str, Head, Any]:
    head = quick(request.param)
    X = features(head)
    return request.param, head.fit(X, LABELS.tolist(), SUBJECTS.tolist()), X


def test_the_heads_of_the_design_are_registered() -> None:
    assert {"svc", "logistic", "mlp", "bilstm", "ridge-regression", "svr"} <= set(HEADS)


def test_fit_returns_the_head_itself() -> None:
    for name in HEADS:
        head = quick(name)
        assert fit(head, features(head)) is head


def test_posteriors_are_distributions(fitted: tuple[str, Head, Any]) -> None:
    _, head, X = fitted
    p = head.predict_proba(X)
    assert p.shape == (len(LABELS), 3)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)


def test_classes_are_the_sorted_names(fitted: tuple[str, Head, Any]) -> None:
    assert fitted[1].classes_.tolist() == ["angry", "happy", "sad"]


def test_predict_names_the_likeliest_class(fitted: tuple[str, Head, Any]) -> None:
    _, head, X = fitted
    likeliest = [head.classes_[row.argmax()] for row in head.predict_proba(X)]
    assert head.predict(X).tolist() == likeliest


def test_columns_stand_for_the_classes_they_are_named_after(fitted: tuple[str, Head, Any]) -> None:
    name, head, X = fitted
    if name in ENOUGH:
        head = quick(name, **ENOUGH[name]).fit(X, LABELS, SUBJECTS)
    assert np.mean(head.predict(X) == LABELS) > 0.8


@pytest.mark.parametrize("order", ["shuffled", "reversed"])
def test_row_order_does_not_change_a_row(trained: tuple[Head, Any], order: str) -> None:
    head, X = trained
    rows = np.arange(len(LABELS))[::-1]
    if order == "shuffled":
        rows = np.random.default_rng(3).permutation(len(LABELS))
    np.testing.assert_allclose(said(head, chosen(X, rows)), said(head, X)[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 5])
def test_batch_mates_do_not_change_a_row(trained: tuple[Head, Any], size: int) -> None:
    head, X = trained
    parts = np.split(np.arange(15), range(size, 15, size))
    apart = np.concatenate([said(head, chosen(X, rows)) for rows in parts])
    np.testing.assert_allclose(apart, said(head, X)[:15], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_same_seed_same_result(name: str, task: str) -> None:
    first, second = quick(name, seed=7), quick(name, seed=7)
    X = features(first, task=task)
    np.random.default_rng(1)
    fit(first, X, task)
    np.random.seed(1)  # noqa: NPY002  # the state of the outer world must not matter
    fit(second, X, task)
    np.testing.assert_array_equal(said(first, X), said(second, X))


@pytest.mark.parametrize("name", list(HEADS))
def test_training_leaves_numpys_global_generator_alone(name: str) -> None:
    before = np.random.get_state()  # noqa: NPY002
    head = quick(name)
    fit(head, features(head))
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(after[1], before[1])  # type: ignore[index]
    assert after[2:] == before[2:]  # numbers used up show in the position first


@pytest.mark.parametrize("scale", ["none", "minmax", "standard"])
@pytest.mark.parametrize("name", list(HEADS))
def test_the_callers_arrays_are_never_written_to(name: str, scale: str) -> None:
    head = quick(name, scale=scale)
    X = features(head)
    copy = [x.copy() for clip in X for x in arrays_of(clip)]
    values = VALUES.copy()
    said(fit(head, X), X)
    pd.testing.assert_frame_equal(VALUES, values)
    for x, before in zip((x for clip in X for x in arrays_of(clip)), copy, strict=True):
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", list(HEADS))
def test_the_constructor_only_stores(name: str) -> None:
    head = HEADS[name]()
    assert vars(head) == head.get_params(deep=False)


@pytest.mark.parametrize("name", list(HEADS))
def test_parameters_go_round(name: str) -> None:
    head = quick(name, seed=11)
    params = head.get_params()
    assert HEADS[name](**params).get_params() == params
    assert HEADS[name]().set_params(**params).get_params() == params


@pytest.mark.parametrize("name", list(HEADS))
def test_a_clone_is_unfitted_and_learns_the_same(name: str) -> None:
    head = quick(name, seed=5)
    X = features(head)
    fit(head, X)
    copy = clone(head)
    assert not hasattr(copy, "classes_")
    assert not hasattr(copy, "attributes_")
    assert copy.get_params() == head.get_params()
    fit(copy, X)
    np.testing.assert_array_equal(said(copy, X), said(head, X))


@pytest.mark.parametrize("scale", ["none", "minmax", "standard"])
@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_saved_head_says_the_same(name: str, task: str, scale: str, tmp_path: Path) -> None:
    head = quick(name, scale=scale)
    X = features(head, task=task)
    fit(head, X, task).save(tmp_path / "made" / "by_save")
    loaded = HEADS[name].load(tmp_path / "made" / "by_save")
    np.testing.assert_array_equal(said(loaded, X), said(head, X))
    learned = "classes_" if task == "classes" else "attributes_"
    assert getattr(loaded, learned).tolist() == getattr(head, learned).tolist()
    assert loaded.get_params() == head.get_params()


def test_saved_files_are_of_kinds_that_hold_no_code(trained: tuple[Head, Any], tmp_path: Path) -> None:
    trained[0].save(tmp_path)
    assert {f.suffix for f in tmp_path.iterdir()} <= {".json", ".safetensors", ".skops"}


@pytest.mark.parametrize("name", list(HEADS))
def test_loading_an_absent_head_names_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="nowhere"):
        HEADS[name].load(tmp_path / "nowhere")


NETWORK_FILES = ["head.json", "head.safetensors"]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "junk": b"junk" * 20}[how])


@pytest.mark.parametrize("how", ["empty", "cut", "junk"])
@pytest.mark.parametrize("name", STATIC)
def test_loading_a_damaged_static_head_is_refused(name: str, how: str, tmp_path: Path) -> None:
    head = quick(name)
    fit(head, features(head)).save(tmp_path)
    damage(tmp_path / "head.skops", how)
    with pytest.raises(HeadError, match=r"head\.skops"):
        HEADS[name].load(tmp_path)


@pytest.mark.parametrize("how", ["empty", "cut", "junk"])
@pytest.mark.parametrize("file", NETWORK_FILES)
@pytest.mark.parametrize("name", NETWORKS)
def test_loading_a_damaged_network_is_refused(name: str, file: str, how: str, tmp_path: Path) -> None:
    head = quick(name)
    fit(head, features(head)).save(tmp_path)
    damage(tmp_path / file, how)
    with pytest.raises(HeadError, match="not a saved"):
        HEADS[name].load(tmp_path)


@pytest.fixture(scope="module")
def saved_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every head, trained once, in a folder of its name."""
    folder = tmp_path_factory.mktemp("heads")
    for name in HEADS:
        head = quick(name)
        fit(head, features(head)).save(folder / name)
    return folder


@pytest.mark.parametrize("name", list(HEADS))
def test_a_head_is_not_loaded_from_another_heads_folder(name: str, saved_heads: Path) -> None:
    for other in HEADS:
        if other != name:
            with pytest.raises(HeadError, match=other):
                HEADS[name].load(saved_heads / other)


@pytest.mark.parametrize("name", STATIC)
def test_a_file_that_smuggles_in_a_function_is_refused(name: str, tmp_path: Path) -> None:
    head = quick(name)
    fit(head, features(head))
    head.extra_ = shutil.rmtree  # type: ignore[attr-defined]
    skops.io.dump(head, tmp_path / "head.skops")
    with pytest.raises(HeadError, match="rmtree"):
        HEADS[name].load(tmp_path)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_one_class_is_refused_with_the_number_found(name: str) -> None:
    head = quick(name)
    with pytest.raises(HeadError, match=r"1 class.*at least 2"):
        head.fit(features(head), ["sad"] * len(LABELS), SUBJECTS)


@pytest.mark.parametrize("name", HOLDS_SUBJECTS_OUT)
def test_one_subject_is_refused_where_subjects_are_held_out(name: str) -> None:
    head = quick(name)
    with pytest.raises(HeadError, match=r"1 subject.*need 2 or more"):
        head.fit(features(head), LABELS, ["s0"] * len(LABELS))


@pytest.mark.parametrize("name", HOLDS_SUBJECTS_OUT)
def test_a_class_that_no_split_can_hold_out_is_refused(name: str) -> None:
    head = quick(name)
    half = np.arange(len(LABELS)) < len(LABELS) // 2
    with pytest.raises(HeadError, match="cannot be held out by subject"):
        head.fit(features(head), np.where(half, "sad", "happy"), np.where(half, "s0", "s1"))


@pytest.mark.parametrize("name", HOLDS_SUBJECTS_OUT)
def test_one_part_is_refused_by_the_name_of_the_option(name: str) -> None:
    head = quick(name, parts=1)
    with pytest.raises(HeadError, match="parts"):
        head.fit(features(head), LABELS, SUBJECTS)


def test_a_clip_of_several_arrays_is_an_entry_of_a_list() -> None:
    for name in HEADS:
        assert HEADS[name].sequence or not HEADS[name].inputs


@pytest.mark.parametrize(("name", "place"), every_array())
def test_features_of_another_width_are_refused(name: str, place: int) -> None:
    head = quick(name)
    X = features(head)
    fit(head, X)
    narrow = with_array(X[0], place, arrays_of(X[0])[place][..., :3])  # one clip, as `predict` has it
    with pytest.raises((AffectstackError, ValueError, RuntimeError)):
        said(head, [narrow] if head.sequence else narrow[None])


@pytest.mark.parametrize(("name", "place"), every_array())
def test_features_that_are_not_numbers_are_refused(name: str, place: int) -> None:
    head = quick(name)
    X = features(head)
    X[3] = with_array(X[3], place, arrays_of(X[3])[place] * np.nan)
    with pytest.raises((AffectstackError, ValueError)):
        fit(head, X)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_more_clips_than_labels_are_refused(name: str, task: str) -> None:
    head = quick(name)
    with pytest.raises((AffectstackError, ValueError)):
        head.fit(features(head, task=task), truth(task)[:-1], SUBJECTS[:-1])


@pytest.mark.parametrize("name", list(HEADS))
def test_without_groups_every_clip_is_its_own_group(name: str) -> None:
    first, second = quick(name), quick(name)
    X = features(first)
    own = np.arange(len(LABELS)).astype(str)
    a = said(fit(first, X, groups=None), X)
    np.testing.assert_array_equal(a, said(fit(second, X, groups=own), X))


@pytest.mark.parametrize("parts", [2, 3, 6, 20])
@pytest.mark.parametrize("seed", range(4))
def test_no_subject_stands_on_both_sides_of_a_split(parts: int, seed: int) -> None:
    y = np.random.default_rng(seed).integers(0, 3, len(SUBJECTS))
    splits = held_out_parts(SUBJECTS.tolist(), y, parts, seed)
    assert len(splits) == min(parts, 8)
    for fit, held in splits:
        assert not set(SUBJECTS[fit]) & set(SUBJECTS[held])
        assert sorted([*fit, *held]) == list(range(len(SUBJECTS)))
    assert sorted(np.concatenate([h for _, h in splits])) == list(range(len(SUBJECTS)))


def test_the_seed_decides_which_subjects_meet_in_a_part() -> None:
    y = np.tile([0, 1, 2], 16)
    first, again, other = (
        [sorted(set(SUBJECTS[held])) for _, held in held_out_parts(SUBJECTS.tolist(), y, 4, seed)]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert sorted(map(tuple, first)) != sorted(map(tuple, other))


def test_every_split_trains_on_every_class() -> None:
    y = np.tile([0, 1], 24)
    y[SUBJECTS == "s2"] = 2
    y[SUBJECTS == "s5"] = 2
    for fit, _ in held_out_parts(SUBJECTS.tolist(), y, 8, 0):
        assert set(y[fit]) == {0, 1, 2}


def test_every_class_is_held_out_or_the_clips_are_refused() -> None:
    """What a calibration or a choice never saw, it cannot judge."""
    y = np.tile([0, 1], 24)
    y[np.isin(SUBJECTS, ["s2", "s5"])] = 2
    for seed in range(20):
        try:
            splits = held_out_parts(SUBJECTS.tolist(), y, 4, seed)
        except HeadError:
            continue
        assert set(y[np.concatenate([h for _, h in splits])]) == {0, 1, 2}, f"seed {seed}"


def test_class_names_are_sorted_and_numbered() -> None:
    classes, index = check_classes(["b", "a", "c", "a"])
    assert classes.tolist() == ["a", "b", "c"]
    assert index.tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_classes_stand_in_the_order_that_the_labels_say(name: str) -> None:
    head = quick(name)
    X = features(head)
    order = ["sad", "unused", "angry", "happy"]
    head.fit(X, pd.Categorical(LABELS, categories=order), SUBJECTS)
    assert head.classes_.tolist() == ["sad", "angry", "happy"]
    likeliest = head.classes_[head.predict_proba(X).argmax(axis=1)]
    assert np.mean(likeliest == head.predict(X)) > 0.97
    if name not in ENOUGH:
        assert np.mean(head.predict(X) == LABELS) > 0.8


OF_VALUES = [name for name in HEADS if "values" in HEADS[name].tasks]


def of_values(name: str, **options: Any) -> tuple[Head, Any]:
    head = quick(name, **options)
    return head, features(head, task="values")


@pytest.mark.parametrize("name", OF_VALUES)
def test_values_stand_in_the_order_of_the_columns(name: str) -> None:
    head, X = of_values(name, **ENOUGH.get(name, {}))
    p = fit(head, X, "values").predict_values(X)
    assert (p.shape, p.dtype) == ((len(VALUES), 2), np.float64)
    assert head.attributes_.tolist() == ["valence", "arousal"]
    found = concordance(p, VALUES.to_numpy())
    crossed = concordance(p[:, ::-1], VALUES.to_numpy())
    assert (np.abs(crossed) < found).all()


@pytest.mark.parametrize("name", [n for n in OF_VALUES if n in STATIC])
def test_a_static_head_learns_values_that_are_there(name: str) -> None:
    head, X = of_values(name)
    assert concordance(fit(head, X, "values").predict_values(X), VALUES.to_numpy()).min() > 0.8


@pytest.mark.parametrize("name", OF_VALUES)
def test_values_exchanged_among_the_clips_cannot_be_predicted(name: str) -> None:
    """Of subjects that it was not trained on; a head that could has seen them."""
    head, X = of_values(name)
    clips, known = np.arange(len(VALUES)), SUBJECTS < "s4"
    found = []
    for seed in range(6):
        drawn = VALUES.iloc[np.random.default_rng(seed).permutation(clips)]
        other = clone(head).fit(chosen(X, clips[known]), drawn[known], SUBJECTS[known])
        found.append(concordance(other.predict_values(chosen(X, clips[~known])), drawn[~known].to_numpy()))
    assert np.abs(np.mean(found, axis=0)).max() < 0.2


@pytest.mark.parametrize("name", OF_VALUES)
def test_a_value_that_is_the_same_for_all_clips_is_refused(name: str) -> None:
    head, X = of_values(name)
    with pytest.raises(HeadError, match=r"'arousal' is 2 in all training clips.*at least 2 values"):
        head.fit(X, VALUES.assign(arousal=2.0), SUBJECTS)


@pytest.mark.parametrize("name", OF_VALUES)
def test_values_that_are_not_numbers_are_refused(name: str) -> None:
    head, X = of_values(name)
    for wrong in (
        VALUES.replace(VALUES.iloc[3, 0], np.inf),
        VALUES.astype(object).replace(VALUES.iloc[3, 0], "x"),
    ):
        with pytest.raises(HeadError, match="values that are"):
            head.fit(X, wrong, SUBJECTS)


@pytest.mark.parametrize("name", [n for n in HEADS if len(HEADS[n].tasks) == 1])
def test_what_a_head_does_not_predict_it_refuses_by_saying_what_it_does(name: str) -> None:
    head = quick(name)
    X = features(head)
    fit(head, X)
    if "values" in head.tasks:
        with pytest.raises(HeadError, match="predicts values of attributes, not posteriors of classes"):
            head.predict_proba(X)
    else:
        with pytest.raises(HeadError, match="predicts posteriors of classes, not values of attributes"):
            head.predict_values(X)


@pytest.mark.parametrize("task", ["classes", "values"])
def test_heads_fitted_side_by_side_see_their_own_rows_alone(task: str) -> None:
    name = "ridge-regression" if task == "values" else "logistic"
    heads, alone = [quick(name), quick(name)], quick(name)
    X = features(alone, task=task)
    rows = [np.arange(24), np.arange(12, 48)]
    HEADS[name].fit_many(heads, X, truth(task), rows, SUBJECTS.tolist())
    y = truth(task)
    alone.fit(X[12:], y.iloc[12:] if task == "values" else y[12:], SUBJECTS[12:])
    np.testing.assert_array_equal(said(heads[1], X), said(alone, X))
