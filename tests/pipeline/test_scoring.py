import numpy as np
import pandas as pd
import pytest

from manifests import Fold, Folds
from pipeline.protocol import Protocol
from pipeline.scoring import chance, score


def protocol(labels: dict[str, str], classes: list[str]) -> Protocol:
    """Say what clips are; clips with neighbouring letters are of one subject."""
    subjects = pd.Series({c: f"s{(ord(c) - ord('a')) // 2}" for c in labels})
    everyone = frozenset(subjects)
    return Protocol(
        "emotion", classes, pd.Series(labels), subjects, Folds([Fold(0, everyone, frozenset(), ())], "x")
    )


def test_scores_by_hand() -> None:
    known = protocol({"a": "x", "b": "x", "c": "y", "d": "y", "e": "y", "f": "y"}, ["x", "y"])
    sure = {"x": [0.9, 0.1], "y": [0.2, 0.8]}
    first = (["a", "c"], np.array([sure["x"], sure["x"]]))  # one of two right
    second = (["b", "d", "e", "f"], np.array([sure["x"], sure["y"], sure["y"], sure["y"]]))  # all right
    found = score([first, second], known)
    assert found.accuracy_folds == [0.5, 1.0]
    assert found.accuracy_mean == 0.75  # of the folds, not of the clips (5/6)
    assert found.uar == pytest.approx((2 / 2 + 3 / 4) / 2)
    assert found.macro_f1 == pytest.approx((2 * 2 / 5 + 2 * 3 / 7) / 2)
    assert found.confusion.tolist() == [[2, 0], [1, 3]]
    assert chance(found.confusion) == pytest.approx(4 / 6)
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.recalls == {"x": 1.0, "y": 0.75}
    assert found.subjects == {"s0": 1.0, "s1": 0.5, "s2": 1.0}
    assert found.subject_spread["worst"] == {"subject": "s1", "accuracy": 0.5}
    assert found.right == {"a": True, "c": False, "b": True, "d": True, "e": True, "f": True}
    assert found.as_json()["nll"] == pytest.approx(-(2 * np.log(0.9) + np.log(0.1) + 3 * np.log(0.8)) / 6)


def test_a_class_that_no_test_clip_has_does_not_lower_the_recall() -> None:
    known = protocol({"a": "x", "b": "y"}, ["x", "y", "z"])
    found = score([(["a", "b"], np.eye(3)[:2])], known)
    assert found.uar == 1.0
    assert found.confusion.shape == (3, 3)
