from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from frame_makers import CLASSES, clips, frames

from classifiers import HeadError
from classifiers.branch_training import seeded
from fusion.sequences.concordance_loss import concordance_loss
from fusion.sequences.versatile import VersatileHead

SMALL = {
    "width": 16, "bottleneck": 8, "heads": 2, "layers": 1, "shared_layers": 1, "kernel": 3, "lr": 5e-3,
    "max_epochs": 6, "batch": 16,
}  # fmt: skip


def quick(**options: Any) -> VersatileHead:
    return VersatileHead(**{**SMALL, **options})


@pytest.fixture(scope="module")
def fitted() -> VersatileHead:
    X, y, groups = clips(takes=5)
    return quick().fit(X, y, groups)


def accuracy(head: VersatileHead, X: Any, y: np.ndarray) -> float:
    return float((head.classes_[head.predict_proba(X).argmax(axis=1)] == y).mean())


def test_the_published_shape_and_training_are_the_default() -> None:
    head = VersatileHead()
    shape = (head.width, head.bottleneck, head.layers, head.shared_layers, head.heads, head.kernel)
    assert shape == (512, 50, 3, 2, 8, 31)
    training = (head.dropout, head.answer_dropout, head.lr, head.weight_decay, head.batch, head.max_epochs)
    assert training == (0.1, 0.2, 5e-5, 5e-7, 32, 20)
    network = head._network([1024, 1408], 6)
    assert network.encoders[0][0].layers[0].weight.shape == (50, 1024)
    assert network.joint[0].weight.shape == (512, 1024)
    assert [network.answers[1][i].weight.shape for i in (0, 3, 4)] == [(512, 512), (256, 512), (6, 256)]
    assert network.reconstructions[1][4].weight.shape == (1408, 256)
    assert (len(network.encoders[0]), len(network.shared)) == (1 + 3, 2)


def test_one_model_answers_to_voice_to_face_and_to_both(fitted: VersatileHead) -> None:
    X, y, _ = clips(seed=0, takes=5)
    assert accuracy(fitted, X, y) > 0.9
    assert accuracy(fitted, [(sound, None) for sound, _ in X], y) > 0.8
    assert accuracy(fitted, [(None, picture) for _, picture in X], y) > 0.8
    assert fitted.trained_ == [True, True, True]
    assert fitted.remarks_ == []


def test_clips_without_a_partner_teach_it() -> None:
    X, y, groups = clips(takes=5)
    apart = [(s, None) if i % 2 else (None, p) for i, (s, p) in enumerate(X)]
    head = quick().fit(apart, y, groups)
    assert head.trained_ == [True, True, False]
    assert head.remarks_ == ["no training clip has both inputs and a label; answers are averaged"]
    assert accuracy(head, apart, y) > 0.8
    one, other = (head.predict_proba([c]) for c in ((X[0][0], None), (None, X[0][1])))
    np.testing.assert_allclose(head.predict_proba([X[0]]), (one + other) / 2)


def test_an_input_that_no_training_clip_has_is_left_out() -> None:
    X, y, groups = clips()
    X[:3] = [(None, picture) for _, picture in X[:3]]
    rows = np.arange(3, len(X))
    only = [*X[:3], *((sound, None) for sound, _ in X[3:])]
    head = quick()
    VersatileHead.fit_many([head], only, y, [rows], groups)
    assert head.trained_ == [True, False, False]
    assert (
        "no training clip has the second input and a label; clips of it alone get the prior" in head.remarks_
    )
    sound, picture = clips()[0][5]
    np.testing.assert_array_equal(head.predict_proba([(sound, picture)]), head.predict_proba([(sound, None)]))
    np.testing.assert_allclose(head.predict_proba([(None, picture)])[0], head.prior_)


def test_one_clip_in_a_batch_teaches_and_an_answer_that_none_taught_is_left_out() -> None:
    X, y, groups = clips()
    held = quick().fit(X, y, groups).held_out_
    lone = next(i for i, g in enumerate(groups) if g not in held)
    only = [
        (s, p if i == lone or g in held else None)
        for i, ((s, p), g) in enumerate(zip(X, groups, strict=True))
    ]
    taught = quick(max_epochs=2).fit(only, y, groups)
    assert taught.trained_ == [True, True, True]
    none = [(s, p if g in held else None) for (s, p), g in zip(X, groups, strict=True)]
    head = quick(max_epochs=2).fit(none, y, groups)
    assert head.trained_ == [True, False, False]
    np.testing.assert_array_equal(head.predict_proba([X[3]]), head.predict_proba([(X[3][0], None)]))


def test_a_batch_of_one_clip_teaches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classifiers.branch_training._FRAMES_TOGETHER", 20)  # as of very long clips
    X, y, groups = clips()
    head = quick(max_epochs=1).fit(X, y, groups)
    with seeded(head.seed):
        untouched = head._network([5, 4], 3).state_dict()
    learned = head.network_.state_dict()
    assert all(not torch.equal(learned[k], untouched[k]) for k in untouched if k.endswith("0.weight"))


def test_a_clip_of_too_many_rows_says_how_to_shorten_it(fitted: VersatileHead) -> None:
    X, _, _ = clips(takes=5)
    sound, picture = X[0]
    long = frames(np.zeros((3001, 5)))
    with pytest.raises(HeadError, match=r"clip 1 has 3,001 rows.*expected 3,000 at most.*`rate`.*`longest`"):
        fitted.predict_proba([(sound, picture), (long, picture)])


def test_held_out_clips_that_can_be_given_no_answer_are_an_error_of_their_own() -> None:
    X, y, groups = clips()
    held = quick().fit(X, y, groups).held_out_
    apart = [(None, p) if g in held else (s, None) for (s, p), g in zip(X, groups, strict=True)]
    with pytest.raises(HeadError, match=r"held-out clips can be given none of the answers"):
        quick().fit(apart, y, groups)


def test_clips_without_a_label_are_reconstructed_and_counted() -> None:
    X, y, groups = clips()
    labels = pd.Categorical(y, categories=CLASSES)
    labels[::5] = np.nan
    head = quick().fit(X, labels, groups)
    assert head.classes_.tolist() == list(CLASSES)
    assert any("training clips have no label; they are reconstructed only" in r for r in head.remarks_)
    whole = quick().fit(X, labels, groups).network_.state_dict()
    there = [i for i in range(len(X)) if i % 5]
    less = quick().fit([X[i] for i in there], labels[there], [groups[i] for i in there]).network_.state_dict()
    assert any(not torch.equal(whole[k], less[k]) for k in whole)  # they did teach it something


def test_the_answer_of_both_changes_nothing_but_itself() -> None:
    """The third update leaves encoders, shared layers and the other answers as they are."""
    from fusion.sequences.versatile_training import Trainer

    X, y, _ = clips()
    head = quick()
    head.classes_ = np.array(CLASSES)
    head.widths_, head.stand_ins_ = [5, 4], [1, 1]
    network = head._network([5, 4], 3)
    targets = np.eye(3, dtype=np.float32)[[CLASSES.index(c) for c in y]]
    trainer = Trainer(network, X, targets, head._collate, head._loss, head._settings)
    trainer._update = lambda place, rows: None  # type: ignore[method-assign]  # the first two updates
    before = {k: v.clone() for k, v in network.state_dict().items()}
    trainer._step(np.arange(12))
    changed = {k.split(".")[0] for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"joint"}


def test_attributes_are_predicted_by_their_concordance() -> None:
    X, y, groups = clips(takes=5)
    index = np.array([CLASSES.index(c) for c in y], dtype=np.float64)
    wanted = pd.DataFrame({"arousal": index / 2, "valence": 1 - index / 2})
    head = quick(max_epochs=10).fit(X, wanted, groups)
    assert head.attributes_.tolist() == ["arousal", "valence"]
    found = head.predict_values(X)
    assert np.corrcoef(found[:, 0], wanted["arousal"])[0, 1] > 0.9
    assert np.corrcoef(found[:, 1], wanted["valence"])[0, 1] > 0.9
    alone = head.predict_values([(sound, None) for sound, _ in X])
    assert np.corrcoef(alone[:, 0], wanted["arousal"])[0, 1] > 0.7


def test_a_saved_head_of_attributes_says_the_same(tmp_path: Path) -> None:
    X, y, groups = clips()
    wanted = pd.DataFrame({"arousal": [CLASSES.index(c) / 2 for c in y]})
    head = quick(max_epochs=2).fit(X, wanted, groups)
    head.save(tmp_path)
    loaded = VersatileHead.load(tmp_path)
    assert loaded.attributes_.tolist() == ["arousal"]
    np.testing.assert_array_equal(loaded.predict_values(X), head.predict_values(X))


def test_held_out_subjects_choose_by_what_is_asked_for() -> None:
    from fusion.sequences.versatile_training import Trainer

    X, y, groups = clips()
    seen: dict[str, list[float]] = {"loss": [], "recall": []}
    judge = Trainer._held_out
    with pytest.MonkeyPatch.context() as patch:
        for kind, values in seen.items():
            patch.setattr(
                Trainer, "_held_out", lambda self, held, v=values: v.append(judge(self, held)) or v[-1]
            )
            head = quick(select_by=kind, max_epochs=5).fit(X, y, groups)
            assert head.epochs_ == 1 + int(np.argmin(values))
    assert max(seen["recall"]) <= 1
    assert seen["loss"] != seen["recall"]


def test_the_loss_is_one_minus_the_concordance_of_each_attribute() -> None:
    found = torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, 2.0], [4.0, 3.0]])
    wanted = torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, 2.0], [5.0, 3.0]])
    assert float(concordance_loss(found, wanted)) == pytest.approx(1 - 0.928571, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 18, "heads": 4}, "width is 18; expected a multiple of twice the 4 heads"),
        ({"kernel": 4}, "kernel is 4; expected an odd number"),
        ({"batch": 1}, "batch is 1; expected 2 or more"),
        ({"dropout": 0.999999}, "dropout is 0.999999"),
        ({"shared_layers": -1}, "shared_layers is -1"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"layers": 0}, "layers is 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"reconstruction": float("nan")}, "reconstruction is nan"),
        ({"select_by": "acc"}, "select_by is 'acc'; expected one of loss, recall"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    X, y, groups = clips()
    with pytest.raises(HeadError, match=message):
        quick(**options).fit(X, y, groups)
