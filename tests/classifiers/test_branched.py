"""Laws of the heads on branched networks, whatever their branches."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from branched_clips import NAMES, clips_for, small
from safetensors.torch import load_file, save_file

from classifiers import HEADS, HeadError
from classifiers.branch_training import train


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def changed(x: Any, change: Callable[[Any], Any]) -> Any:
    return tuple(map(change, x)) if isinstance(x, tuple) else change(x)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_the_subjects_that_stop_it_are_not_those_it_fits(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y, groups = clips_for(name)
    seen: list[Any] = []

    def spy(network: Any, clips: Any, y: Any, fit: Any, held: Any, **options: Any) -> int:
        seen.append((fit, held))
        return train(network, clips, y, fit, held, **options)

    monkeypatch.setattr("classifiers.branch_training.train", spy)
    head = small(name, seed=seed).fit(X, y, groups)
    ((fit, held),) = seen
    assert set(groups[held]) == set(head.held_out_)
    assert not set(groups[fit]) & set(head.held_out_)
    assert sorted([*fit, *held]) == list(range(len(y)))
    assert len(head.held_out_) == 2  # one in five of ten


@pytest.mark.parametrize("name", NAMES)
def test_held_out_clips_never_reach_the_weights_or_the_scalers(name: str) -> None:
    X, y, groups = clips_for(name)
    options = {"max_epochs": 1, "scale": "standard"}
    first = small(name, **options).fit(X, y, groups)
    other = [
        changed(x, lambda a: a + 100) if g in first.held_out_ else x for x, g in zip(X, groups, strict=True)
    ]
    second = small(name, **options).fit(other, y, groups)
    assert second.held_out_ == first.held_out_
    for a, b in zip(first.network_.parameters(), second.network_.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for s, t in zip(first.scalers_, second.scalers_, strict=True):
        np.testing.assert_array_equal(s.mean_, t.mean_)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
def test_each_array_has_its_scaler_of_the_clips_that_are_fitted(name: str) -> None:
    X, y, groups = clips_for(name)
    head = small(name, max_epochs=1, scale="standard").fit(X, y, groups)
    fitted = [x for x, g in zip(X, groups, strict=True) if g not in head.held_out_]
    arrays = zip(*(x if isinstance(x, tuple) else (x,) for x in fitted), strict=True)
    for scaler, own in zip(head.scalers_, arrays, strict=True):
        together = np.concatenate([np.atleast_2d(x) for x in own])
        np.testing.assert_allclose(scaler.mean_, together.mean(axis=0), atol=1e-6)  # type: ignore[union-attr]
        np.testing.assert_allclose(scaler.scale_, together.std(axis=0), atol=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
def test_one_scale_for_training_and_for_asking(name: str) -> None:
    """Scaled features are learned from: the same clips in other units give the same posteriors."""
    X, y, groups = clips_for(name)
    other = [changed(x, lambda a: 64 * a) for x in X]  # a power of two loses no digits
    a, b = (small(name, scale="standard").fit(v, y, groups).predict_proba(v) for v in (X, other))
    np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_reproduce_and_differ(name: str) -> None:
    X, y, groups = clips_for(name)
    one, again, other = (small(name, seed=s).fit(X, y, groups).predict_proba(X) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_torchs_global_generator_is_neither_read_nor_moved(name: str, tmp_path: Path) -> None:
    X, y, groups = clips_for(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = small(name).fit(X, y, groups)
        found = first.predict_proba(X)
        first.save(tmp_path)
        HEADS[name].load(tmp_path)
        torch.testing.assert_close(torch.get_rng_state(), before)
        torch.manual_seed(2)
        np.testing.assert_array_equal(small(name).fit(X, y, groups).predict_proba(X), found)


@pytest.mark.parametrize("name", NAMES)
def test_several_heads_are_what_each_would_be_alone(name: str) -> None:
    X, y, groups = clips_for(name)
    rows = [np.arange(40), np.arange(24, 80)]
    heads = [small(name, seed=i) for i in range(2)]
    type(heads[0]).fit_many(heads, X, y, rows, groups.tolist())
    for i, (head, own) in enumerate(zip(heads, rows, strict=True)):
        alone = small(name, seed=i).fit([X[r] for r in own], y[own], groups[own])
        np.testing.assert_array_equal(head.predict_proba(X), alone.predict_proba(X))
        assert (head.held_out_, head.epochs_) == (alone.held_out_, alone.epochs_)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_that_is_refused_is_named_by_its_place_among_all(name: str) -> None:
    X, y, _ = clips_for(name)
    X = list(X)
    X[50] = changed(X[50], lambda a: a * np.nan)
    with pytest.raises(HeadError, match=r"clip 50.* NaN or infinite"):
        HEADS[name].fit_many([small(name)], X, y, [np.arange(40, 80)])
    head = small(name).fit(X[:40], y[:40])
    with pytest.raises(HeadError, match=r"clip 10.* NaN or infinite"):
        head.predict_proba(X[40:])


@pytest.mark.parametrize("name", NAMES)
def test_a_value_too_large_for_the_network_is_refused_without_a_warning(name: str) -> None:
    X, y, groups = clips_for(name)
    X = list(X)
    X[5] = changed(X[5], lambda a: a.astype(np.float64) * 1e300)
    with pytest.raises(HeadError, match=r"clip 5.* NaN or infinite"):
        small(name).fit(X, y, groups)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_without_a_label_is_refused(name: str) -> None:
    X, y, groups = clips_for(name)
    with pytest.raises(HeadError, match="80 clips and 79 labels; expected one label per clip"):
        small(name).fit(X, y[:-1], groups)


@pytest.mark.parametrize("name", NAMES)
def test_no_clips_are_refused_in_training_and_give_no_posteriors(name: str) -> None:
    X, y, groups = clips_for(name)
    with pytest.raises(HeadError, match="0 class"):
        small(name).fit([], [])
    assert small(name, max_epochs=1).fit(X, y, groups).predict_proba([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch is 0; expected 1 or more"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"lr": 0.0}, "lr is 0.0; expected more than 0"),
        ({"lr": float("nan")}, "lr is nan; expected"),
        ({"lr": float("inf")}, "lr is inf; expected"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_options_that_teach_nothing_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadError, match=message):
        small(name, **options).fit(*clips_for(name))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dense-dropout", {"hidden": ()}),
        ("dense-dropout", {"hidden": (8, 0)}),
        ("mel-cnn", {"channels": ()}),
        ("mel-cnn", {"channels": (0, 8)}),
        ("mel-cnn", {"hidden": 0}),
        ("concat", {"hidden": ()}),
        ("concat", {"hidden": (0, 8)}),
        ("concat", {"channels": ()}),
        ("concat", {"channels": (8, 0)}),
        ("concat", {"joined": 0}),
    ],
)
def test_empty_layers_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(HeadError, match="the smallest layer is 0; expected 1 or more"):
        small(name, **options).fit(*clips_for(name))


@pytest.mark.parametrize("name", ["dense-dropout", "concat"])
@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_that_drops_all_or_less_than_nothing_is_refused(name: str, dropout: float) -> None:
    with pytest.raises(HeadError, match="dropout is"):
        small(name, dropout=dropout).fit(*clips_for(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_head_remembers_who_stopped_it(name: str, tmp_path: Path) -> None:
    head = small(name).fit(*clips_for(name))
    head.save(tmp_path)
    loaded = type(head).load(tmp_path)
    assert (loaded.held_out_, loaded.epochs_, loaded.widths_) == (head.held_out_, head.epochs_, head.widths_)
    assert loaded.get_params() == head.get_params()
    assert not loaded.network_.training


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads((folder / "head.json").read_text())
    change(facts)
    (folder / "head.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(head="Other"), "it is of a Other"),
        (lambda f: f.pop("epochs"), "epochs"),
        (lambda f: f["params"].update(depth=3), "depth"),
        (lambda f: f["params"].update(batch=0), "batch is 0"),
        (lambda f: f["params"].update(scale="none"), "the scaler holds"),
        (lambda f: f["params"].update(scale="odd"), "odd"),
        (lambda f: f["classes"].append("more"), "size mismatch"),
        (lambda f: f["classes"].__setitem__(1, f["classes"][0]), "expected two or more names"),
        (lambda f: f["widths"].__setitem__(0, f["widths"][0] + 1), "expected"),
        (lambda f: f["scalers"].append(None), "scalers; expected"),
        (lambda f: f["scalers"].pop(), "scalers; expected"),
        (lambda f: (f["scalers"].append(None), f["widths"].append(3)), "widths"),
        (lambda f: f.update(params=[1]), "list"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_facts_that_do_not_fit_are_refused(
    name: str, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    head = small(name, max_epochs=1, scale="standard").fit(*clips_for(name))
    head.save(tmp_path)
    rewritten(tmp_path, change)
    with pytest.raises(HeadError, match=f"(?s)not a saved {type(head).__name__} .*{message}"):
        type(head).load(tmp_path)


@pytest.mark.parametrize("how", ["missing", "more", "shape"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_that_do_not_fit_are_refused(name: str, how: str, tmp_path: Path) -> None:
    head = small(name, max_epochs=1).fit(*clips_for(name))
    head.save(tmp_path)
    weights = load_file(tmp_path / "head.safetensors")
    if how == "missing":
        del weights["out.bias"]
    else:
        weights["more" if how == "more" else "out.bias"] = torch.zeros(9)
    save_file(weights, tmp_path / "head.safetensors")
    with pytest.raises(HeadError, match="not a saved"):
        type(head).load(tmp_path)
