"""Toy clips for the tests of the branched heads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers import HEADS
from classifiers.branched import BranchedHead

NAMES = ["dense-dropout", "mel-cnn", "concat"]
SMALL: dict[str, dict[str, Any]] = {
    "dense-dropout": {"hidden": (16, 8)},
    "mel-cnn": {"channels": (4, 6), "hidden": 8},
    "concat": {"hidden": (16, 8), "channels": (4, 6), "joined": 8},
}


def small(name: str, **options: Any) -> BranchedHead:
    head = HEADS[name](**{**SMALL[name], "max_epochs": 3, "batch": 16, **options})
    assert isinstance(head, BranchedHead)
    return head


def pairs(
    seed: int = 0, subjects: int = 10, clips: int = 8
) -> tuple[list[tuple[NDArray[np.float32], NDArray[np.float32]]], NDArray[np.str_], NDArray[np.str_]]:
    """Return clips of four classes: the vector says which half a class is in, the frames which of the half.

    In the vector two features are alike or opposed; in the frames a tone rises or falls.
    """
    rng = np.random.default_rng(seed)
    y = np.tile(["alike-down", "alike-up", "opposed-down", "opposed-up"], subjects * clips // 4)
    X = []
    for label in y:
        vector = rng.normal(size=6) * 0.3
        sign = rng.choice([-2.0, 2.0])
        vector[:2] += [sign, sign if label.startswith("alike") else -sign]
        frames = rng.normal(size=(int(rng.integers(8, 15)), 8)) * 0.3
        start = rng.integers(0, len(frames) - 7)
        for step in range(8):
            frames[start + step, step if label.endswith("up") else 7 - step] += 3
        X.append((vector.astype(np.float32), frames.astype(np.float32)))
    return X, y, np.repeat([f"s{i}" for i in range(subjects)], clips)


def clips_for(name: str, seed: int = 0) -> tuple[Any, NDArray[np.str_], NDArray[np.str_]]:
    """Return those arrays of `pairs` that a head reads, the classes and the subjects."""
    X, y, groups = pairs(seed)
    return (
        {"dense-dropout": np.stack([v for v, _ in X]), "mel-cnn": [f for _, f in X], "concat": X}[name],
        y,
        groups,
    )
