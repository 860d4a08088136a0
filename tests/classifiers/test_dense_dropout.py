"""The dense head (SYSTEMS 6.2)."""

import numpy as np
import pytest
from branched_clips import clips_for, small
from torch import nn

from classifiers import HeadError
from classifiers.dense_dropout import DenseDropoutHead


def test_the_network_has_the_shape_of_the_system() -> None:
    """SYSTEMS 6.2: Dense 512-256-128, ReLU, dropout .5, softmax of 7."""
    network = DenseDropoutHead()._network([2304], 7)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [
        (2304, 512),
        (512, 256),
        (256, 128),
        (128, 7),
    ]
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.5] * 3


def test_training_settings_are_those_of_the_system() -> None:
    head = DenseDropoutHead()
    assert (head.lr, head.batch, head.max_epochs) == (5e-4, 32, 10)


def test_it_learns_on_new_subjects_what_no_single_feature_tells() -> None:
    X, y, groups = clips_for("dense-dropout")
    halves = np.array([c.split("-")[0] for c in y])
    head = small("dense-dropout", hidden=(32, 16), dropout=0.2, max_epochs=30, lr=1e-2)
    head.fit(X, halves, groups)
    X, y, _ = clips_for("dense-dropout", seed=1)
    assert np.mean(head.predict(X) == [c.split("-")[0] for c in y]) > 0.9


def test_frames_in_place_of_a_vector_are_refused() -> None:
    X, y, groups = clips_for("dense-dropout")
    head = small("dense-dropout").fit(X, y, groups)
    with pytest.raises(HeadError, match=r"clip 0 has features of shape \[1, 6\]; expected \[6\]"):
        head.predict_proba(X[:1, None])
