import numpy as np
import pandas as pd
import pytest

from pipeline.scoring import chance, score


def test_scores_by_hand() -> None:
    labels = pd.Series({"a": "x", "b": "x", "c": "y", "d": "y", "e": "y", "f": "y"})
    sure = {"x": [0.9, 0.1], "y": [0.2, 0.8]}
    first = (["a", "c"], np.array([sure["x"], sure["x"]]))  # one of two right
    second = (["b", "d", "e", "f"], np.array([sure["x"], sure["y"], sure["y"], sure["y"]]))  # all right
    found = score([first, second], labels, ["x", "y"])
    assert found.accuracy_folds == [0.5, 1.0]
    assert found.accuracy_mean == 0.75  # of the folds, not of the clips (5/6)
    assert found.uar == pytest.approx((2 / 2 + 3 / 4) / 2)
    assert found.macro_f1 == pytest.approx((2 * 2 / 5 + 2 * 3 / 7) / 2)
    assert found.confusion.tolist() == [[2, 0], [1, 3]]
    assert chance(found.confusion) == pytest.approx(4 / 6)


def test_a_class_that_no_test_clip_has_does_not_lower_the_recall() -> None:
    labels = pd.Series({"a": "x", "b": "y"})
    found = score([(["a", "b"], np.eye(3)[:2])], labels, ["x", "y", "z"])
    assert found.uar == 1.0
    assert found.confusion.shape == (3, 3)
