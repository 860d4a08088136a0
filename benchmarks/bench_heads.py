"""Heads against scikit-learn's: calibrated support vectors on the width of ComParE, nested perceptrons."""

import time
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from turns import compare, say

from classifiers.attentive_bilstm import AttentiveBiLSTM
from classifiers.bilstm import BiLSTMHead
from classifiers.contract import held_out_parts
from classifiers.mlp_batched import BatchedMLPHead
from classifiers.svc import SVCHead
from pipeline.processes import worker_pool

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


def recurrent(epochs: int = 2) -> None:
    """Five folds of 1,440 sequences of 80 to 140 x 35: side by side, and fold by fold with `nn.LSTM`."""
    rng = np.random.default_rng(0)
    clips = 1440
    y = np.arange(clips) % CLASSES
    centres = 0.5 * rng.normal(size=(CLASSES, 35))
    x = [(rng.normal(size=(rng.integers(80, 141), 35)) + centres[c]).astype(np.float32) for c in y]
    names = np.array([f"class{i}" for i in y])
    subject = np.array([f"s{i % 24}" for i in range(clips)])
    rows = [np.flatnonzero(np.arange(clips) % 24 % 5 != k) for k in range(5)]
    tensors, labels = [torch.from_numpy(v) for v in x], torch.from_numpy(y)

    def fold(own: NDArray[np.int64]) -> None:
        held = held_out_parts(subject[own].tolist(), names[own], 5, 0)[0]
        network = AttentiveBiLSTM(35, CLASSES, 50, 0.3)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(epochs):
            network.train()
            order = own[held[0]][torch.randperm(len(held[0])).numpy()]
            for first in range(0, len(order), 64):
                batch = order[first : first + 64]
                optimiser.zero_grad()
                lengths = torch.tensor([len(tensors[i]) for i in batch])
                padded = nn.utils.rnn.pad_sequence([tensors[i] for i in batch], batch_first=True)
                nn.functional.cross_entropy(network(padded, lengths)[0], labels[batch]).backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
            network.eval()
            with torch.inference_mode():
                watched = own[held[1]]
                for first in range(0, len(watched), 64):
                    batch = watched[first : first + 64]
                    lengths = torch.tensor([len(tensors[i]) for i in batch])
                    network(nn.utils.rnn.pad_sequence([tensors[i] for i in batch], batch_first=True), lengths)

    def loop() -> None:
        for own in rows:
            fold(own)

    with worker_pool(2) as pool:

        def shared() -> None:
            parts = [rows[k::2] for k in range(2)]
            list(pool.map(_side_by_side, parts, [(x, names, subject.tolist(), epochs)] * 2))

        list(pool.map(time.sleep, [1, 1]))  # both processes are there
        name = f"bilstm, 5 folds of {clips} sequences of 80 to 140 x 35, {epochs} epochs"
        compare(f"{name}, two processes side by side against a loop", shared, loop, rounds=2)


def _side_by_side(rows: list[NDArray[np.int64]], given: tuple[Any, Any, list[str], int]) -> None:
    x, names, subjects, epochs = given
    BiLSTMHead.fit_many([BiLSTMHead(max_epochs=epochs) for _ in rows], x, names, rows, subjects)


def main() -> None:
    """Measure fits with posteriors, prediction of a fold, and nested fits."""
    recurrent()
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
