"""Toy clips of frames for the tests of heads that read them."""

import numpy as np
from numpy.typing import NDArray

from classifiers import Frames

CLASSES = ("a", "b", "c")


def frames(
    values: NDArray[np.floating], valid: NDArray[np.bool_] | None = None, rate: float = 10.0
) -> Frames:
    """Return rows that follow each other, so many a second."""
    edges = np.arange(len(values) + 1) / rate
    there = np.ones(len(values), np.bool_) if valid is None else valid
    return Frames(np.asarray(values, np.float32), np.column_stack([edges[:-1], edges[1:]]), there)


def noise(rows: int, width: int, seed: int = 0) -> Frames:
    return frames(np.random.default_rng(seed).normal(size=(rows, width)))


def clips(
    seed: int = 0, subjects: int = 8, takes: int = 3, widths: tuple[int, int] = (5, 4)
) -> tuple[list[tuple[Frames | None, ...]], NDArray[np.str_], list[str]]:
    """Return clips of two inputs, both of which tell the classes apart, the classes and the subjects."""
    rng = np.random.default_rng(seed)
    centres = [2 * rng.normal(size=(len(CLASSES), width)) for width in widths]
    y = np.tile(CLASSES, subjects * takes)
    X: list[tuple[Frames | None, ...]] = []
    for label in y:
        lengths = rng.integers(14, 25), rng.integers(1, 8)
        X.append(
            tuple(
                frames(rng.normal(size=(rows, width)) + centre[CLASSES.index(label)])
                for rows, width, centre in zip(lengths, widths, centres, strict=True)
            )
        )
    return X, y, np.repeat([f"s{i}" for i in range(subjects)], len(CLASSES) * takes).tolist()
