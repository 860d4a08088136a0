"""Heads against scikit-learn's: calibrated support vectors on the width of ComParE, nested perceptrons."""

import warnings
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from turns import compare, say

from classifiers.mlp_batched import BatchedMLPHead
from classifiers.svc import SVCHead

CLIPS, COLUMNS, CLASSES, SUBJECTS = 570, 6373, 8, 19


def perceptrons() -> None:
    """MLP(80) on 1,440 x 512, five outer folds with four inner ones: side by side, and in a loop."""
    rng = np.random.default_rng(0)
    clips, columns, outer, inner = 1440, 512, 5, 4
    y = np.arange(clips) % CLASSES
    x = (rng.normal(size=(clips, columns)) + 0.12 * rng.normal(size=(CLASSES, columns))[y]).astype(np.float32)
    names = np.array([f"class{i}" for i in y])
    subject = rng.permutation(np.arange(clips) % 24)
    rows = []
    for k in range(outer):
        train = np.flatnonzero(subject % outer != k)
        rows += [train, *(train[(subject[train] // outer) % inner != j] for j in range(inner))]
    heads = [BatchedMLPHead(scale="standard") for _ in rows]
    plain: list[Any] = [make_pipeline(StandardScaler(), MLPClassifier((80,), random_state=0)) for _ in rows]

    def loop() -> None:
        for model, own in zip(plain, rows, strict=True):
            model.fit(x[own], names[own])

    compare(
        f"mlp(80), {outer} x (1 + {inner}) fits of {clips} x {columns}, side by side against a loop",
        lambda: BatchedMLPHead.fit_many(heads, x, names, rows),
        loop,
        rounds=3,
    )
    rest = [np.setdiff1d(np.arange(clips), own) for own in rows]
    pairs = list(zip(heads, plain, rest, strict=True))
    ours, theirs = (
        float(np.mean(np.concatenate([m.predict(x[own]) == names[own] for m, own in side])))
        for side in ([(h, o) for h, _, o in pairs], [(p, o) for _, p, o in pairs])
    )
    say("mlp(80), accuracy of the same on the clips left out", ours, theirs, "share")


def main() -> None:
    """Measure fits with posteriors, prediction of a fold, and nested fits."""
    perceptrons()
    rng = np.random.default_rng(0)
    y = np.arange(CLIPS) % CLASSES
    x = rng.normal(size=(CLIPS, COLUMNS)) + rng.normal(size=(CLASSES, COLUMNS))[y]
    names = [f"class{i}" for i in y]
    groups = [f"s{i % SUBJECTS}" for i in range(CLIPS)]
    new = x[:300] + rng.normal(size=(300, COLUMNS))
    ours = SVCHead(C=10, gamma=1e-4)
    theirs = make_pipeline(StandardScaler(), SVC(C=10, gamma=1e-4, probability=True, random_state=0))
    compare(
        "svc with posteriors, 570 x 6,373, fit",
        lambda: ours.fit(x, names, groups),
        lambda: theirs.fit(x, names),
        rounds=2,
    )
    compare(
        "svc with posteriors, 300 clips, predict",
        lambda: ours.predict_proba(new),
        lambda: theirs.predict_proba(new),
        rounds=2,
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
