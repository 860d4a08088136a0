from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from frame_makers import CLASSES, clips, frames

from classifiers import HeadError, SoftLabels
from fusion.sequences.self_attention import SelfAttentionHead


def quick(**options: Any) -> SelfAttentionHead:
    return SelfAttentionHead(**{"max_epochs": 4, "milestones": (3,), **options})


@pytest.fixture(scope="module")
def fitted() -> SelfAttentionHead:
    X, y, groups = clips()
    return quick().fit(X, y, groups)


def accuracy(head: SelfAttentionHead, posteriors: np.ndarray, y: np.ndarray) -> float:
    return float((head.classes_[posteriors.argmax(axis=1)] == y).mean())


def test_the_published_training_is_the_default() -> None:
    head = SelfAttentionHead()
    assert (head.way, head.attention_heads, head.dropout) == ("ia", 1, "softhard")
    schedule = (head.lr, head.momentum, head.dampening, head.weight_decay, head.batch, head.max_epochs)
    assert schedule == (0.04, 0.9, 0.9, 1e-3, 8, 100)
    assert (head.milestones, head.patience, head.seed) == ((40, 55, 65, 70), None, 1)


def test_clips_that_lack_an_input_are_learned_from_and_recognised() -> None:
    X, y, groups = clips()
    for i in range(0, len(X), 4):
        X[i] = (X[i][0], None) if i % 8 else (None, X[i][1])
    head = quick().fit(X, y, groups)
    lacking = list(range(0, len(X), 4))
    assert accuracy(head, head.predict_proba([X[i] for i in lacking]), y[lacking]) > 0.8


def test_a_clip_without_a_valid_row_of_an_input_lacks_it(fitted: SelfAttentionHead) -> None:
    X, _, _ = clips()
    sound, picture = X[0]
    assert picture is not None
    blind = picture._replace(valid=np.zeros(len(picture.valid), np.bool_))
    np.testing.assert_array_equal(
        fitted.predict_proba([(sound, blind)]), fitted.predict_proba([(sound, None)])
    )


def test_dropout_makes_up_for_what_lacks() -> None:
    X, y, groups = clips(takes=5)
    both = {kind: quick(dropout=kind, max_epochs=6).fit(X, y, groups) for kind in ("softhard", "nodropout")}
    for place in (0, 1):
        with_dropout, without = (
            accuracy(head, head.predict_degraded(X, place, "absent"), y) for head in both.values()
        )
        assert with_dropout > 0.85
        assert with_dropout > without or without == 1


def test_what_is_degraded_is_one_input_of_each_clip(fitted: SelfAttentionHead) -> None:
    X, _, _ = clips()
    absent = fitted.predict_degraded(X, 1, "absent")
    np.testing.assert_array_equal(absent, fitted.predict_proba([(sound, None) for sound, _ in X]))
    noisy, again, other = (fitted.predict_degraded(X, 1, "noise", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(noisy, again)
    assert np.abs(noisy - other).max() > 0
    few = fitted.predict_degraded(X[5:9], 1, "added noise")
    np.testing.assert_allclose(few, fitted.predict_degraded(X, 1, "added noise")[5:9], atol=1e-6)


def test_a_clip_that_loses_its_only_input_still_has_posteriors(fitted: SelfAttentionHead) -> None:
    X, _, _ = clips()
    found = fitted.predict_degraded([(X[0][0], None)], 0, "absent")
    np.testing.assert_allclose(found.sum(), 1)


def test_no_pair_among_the_training_clips_is_refused() -> None:
    X, y, groups = clips()
    apart = [(s, None) if i % 2 else (None, p) for i, (s, p) in enumerate(X)]
    with pytest.raises(HeadError, match=r"no training clip has both inputs.*`head: versatile`"):
        quick().fit(apart, y, groups)


def test_nothing_at_all_is_refused(fitted: SelfAttentionHead) -> None:
    X, y, groups = clips()
    with pytest.raises(HeadError, match="clip 1 has none of the inputs"):
        fitted.predict_proba([X[0], (None, None)])
    with pytest.raises(HeadError, match="no clip has input 1"):
        quick().fit([(s, None) for s, _ in X], y, groups)
    with pytest.raises(HeadError, match="clip 0 has 1 inputs; expected 2"):
        fitted.predict_proba([(X[0][0],)])


def test_nan_in_one_valid_frame_names_the_clip(fitted: SelfAttentionHead) -> None:
    X, _, _ = clips()
    values = np.ones((15, 5))
    values[7, 2] = np.nan
    with pytest.raises(HeadError, match=r"clip 1, input 0, has features that are NaN"):
        fitted.predict_proba([X[0], (frames(values), X[1][1])])
    valid = np.arange(15) != 7
    assert np.isfinite(fitted.predict_proba([(frames(values, valid), X[1][1])])).all()


def test_shares_of_votes_are_what_is_learned() -> None:
    X, y, groups = clips()
    labels = pd.Categorical(y, categories=CLASSES)
    sure = np.eye(3)[labels.codes]
    doubtful = 0.4 * sure + 0.2
    confidence = [
        quick().fit(X, SoftLabels(labels, shares), groups).predict_proba(X).max(axis=1).mean()
        for shares in (sure, doubtful)
    ]
    assert confidence[0] > confidence[1] + 0.1
    hard = quick().fit(X, labels, groups).predict_proba(X)
    np.testing.assert_allclose(
        hard, quick().fit(X, SoftLabels(labels, sure), groups).predict_proba(X), atol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention_heads": 3}, "attention_heads is 3; expected a divisor of 64"),
        ({"way": "late"}, "way is 'late'; expected one of lt, it, ia"),
        ({"dropout": "hard"}, "dropout is 'hard'; expected one of softhard, noise, nodropout"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"batch": 0}, "batch is 0"),
        ({"patience": 0}, "patience is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    X, y, groups = clips()
    with pytest.raises(HeadError, match=message):
        quick(**options).fit(X, y, groups)


def test_a_rate_that_is_far_too_high_says_so() -> None:
    X, y, groups = clips()
    with pytest.raises(HeadError, match=r"diverged in epoch \d: lr is 1e\+30"):
        quick(lr=1e30).fit(X, y, groups)


def test_a_saved_head_knows_what_stands_in(fitted: SelfAttentionHead, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = SelfAttentionHead.load(tmp_path)
    assert loaded.stand_ins_ == fitted.stand_ins_
    X, _, _ = clips()
    one = [(X[0][0], None)]
    np.testing.assert_array_equal(loaded.predict_proba(one), fitted.predict_proba(one))
