"""The convolutional head (SYSTEMS 6.2)."""

import numpy as np
import pytest
from branched_clips import clips_for, small
from torch import nn

from classifiers import HeadError
from classifiers.mel_cnn import MelCNNHead


def test_the_network_has_the_shape_of_the_system() -> None:
    """SYSTEMS 6.2: convolutions 32/64/64, maxima, a global maximum, Dense 64, softmax of 7."""
    network = MelCNNHead()._network([128], 7)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in layers] == [(1, 32), (32, 64), (64, 64)]
    assert {(m.kernel_size, m.padding) for m in layers} == {((3, 3), (1, 1))}
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(64, 64), (64, 7)]


def test_training_settings_are_those_of_the_system() -> None:
    head = MelCNNHead()
    found = (head.lr, head.batch, head.max_epochs, head.patience, head.scale)
    assert found == (1e-3, 32, 100, 10, "standard")


def test_it_learns_on_new_subjects_which_way_a_tone_goes() -> None:
    X, y, groups = clips_for("mel-cnn")
    head = small("mel-cnn", channels=(8, 8), hidden=16, max_epochs=25, lr=1e-2)
    head.fit(X, [c.split("-")[1] for c in y], groups)
    X, y, _ = clips_for("mel-cnn", seed=1)
    assert np.mean(head.predict(X) == [c.split("-")[1] for c in y]) > 0.9


def test_a_clip_is_the_same_alone_and_beside_one_that_is_much_longer() -> None:
    X, y, groups = clips_for("mel-cnn")
    head = small("mel-cnn", channels=(4, 4, 4), max_epochs=5, lr=1e-2).fit(X, y, groups)
    long = np.tile(X[0], (40, 1))
    for length in range(1, len(X[1]) + 1):
        clip = X[1][:length]
        together = head.predict_proba([clip, long])[:1]
        np.testing.assert_allclose(together, head.predict_proba([clip]), rtol=0, atol=1e-6)


def test_clips_of_one_frame_work() -> None:
    X, y, groups = clips_for("mel-cnn")
    short = [x[:1] for x in X]
    p = small("mel-cnn").fit(short, y, groups).predict_proba(short)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)


def test_an_empty_clip_is_refused_by_name() -> None:
    X, y, groups = clips_for("mel-cnn")
    X[4] = X[4][:0]
    with pytest.raises(
        HeadError, match=r"clip 4 has features of shape \[0, 8\]; expected \[T, 8\] with T > 0"
    ):
        small("mel-cnn").fit(X, y, groups)
