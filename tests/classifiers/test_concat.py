"""The head of two inputs (SYSTEMS 6.2)."""

from typing import Any

import numpy as np
import pytest
from branched_clips import clips_for, small
from torch import nn

from classifiers import HeadError
from classifiers.concat import ConcatHead


def test_the_network_has_the_shape_of_the_system() -> None:
    """SYSTEMS 6.2: video 2304 -> 1024 -> 512 -> 128, audio convolutions -> 128, 256 -> 128 -> 7."""
    network = ConcatHead()._network([2304, 128], 7)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    sizes = [(2304, 1024), (1024, 512), (512, 128), (64, 128), (256, 128), (128, 7)]
    assert [(m.in_features, m.out_features) for m in linear] == sizes
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in layers] == [32, 64, 64]


def test_training_settings_are_those_of_the_system() -> None:
    head = ConcatHead()
    assert (head.lr, head.batch, head.max_epochs, head.patience) == (1e-3, 32, 150, 10)


def test_it_says_what_a_clip_is_made_of() -> None:
    assert ConcatHead.inputs == ("static", "sequence")


TAUGHT = {"batch": 16, "max_epochs": 40, "lr": 5e-3}


def test_it_solves_what_either_input_alone_leaves_to_chance() -> None:
    """The vector tells halves of the classes, the frames which one of a half."""
    options = {
        "dense-dropout": {"hidden": (32, 16), "dropout": 0.2},
        "mel-cnn": {"channels": (8, 8), "hidden": 16},
        "concat": {"hidden": (32, 16), "channels": (8, 8), "joined": 16, "dropout": 0.2},
    }
    found = {}
    for name, own in options.items():
        head = small(name, **own, **TAUGHT).fit(*clips_for(name))
        X, y, _ = clips_for(name, seed=1)
        found[name] = np.mean(head.predict(X) == y)
    assert found["concat"] > 0.9
    assert max(found["dense-dropout"], found["mel-cnn"]) < 0.65


def test_a_clip_is_the_same_alone_and_beside_one_that_is_much_longer() -> None:
    X, y, groups = clips_for("concat")
    head = small("concat", max_epochs=5, lr=1e-2).fit(X, y, groups)
    long = (X[0][0], np.tile(X[0][1], (40, 1)))
    for length in range(1, len(X[1][1]) + 1):
        clip = (X[1][0], X[1][1][:length])
        together = head.predict_proba([clip, long])[:1]
        np.testing.assert_allclose(together, head.predict_proba([clip]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ((np.zeros(6),), r"clip 1 has 1 arrays; expected 2: static, sequence"),
        ((np.zeros(6), np.zeros((3, 8)), np.zeros(1)), r"clip 1 has 3 arrays; expected 2"),
        ((np.zeros(5), np.zeros((3, 8))), r"clip 1, array 0 \(static\), has .* \[5\]; expected \[6\]"),
        (
            (np.zeros(6), np.zeros((0, 8))),
            r"clip 1, array 1 \(sequence\), has .* \[0, 8\]; expected \[T, 8\]",
        ),
        ((np.zeros((3, 8)), np.zeros(6)), r"clip 1, array 0 \(static\), has .* \[3, 8\]; expected \[6\]"),
        ((np.zeros(6), np.full((3, 8), np.nan)), r"clip 1, array 1 \(sequence\), has .* NaN"),
    ],
)
def test_a_clip_that_is_made_otherwise_is_refused_by_name(clip: Any, message: str) -> None:
    X, y, groups = clips_for("concat")
    with pytest.raises(HeadError, match=message):
        small("concat").fit([X[0], clip, *X[2:]], y, groups)
    head = small("concat", max_epochs=1).fit(X, y, groups)
    with pytest.raises(HeadError, match=message):
        head.predict_proba([X[0], clip])
