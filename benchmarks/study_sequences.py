"""What becomes of heads on two inputs when clips lack one, in training or in the test.

Trains `ia` with and without modality dropout, and `versatile` on all clips, on clips half of which lost one
input at random, and on one input alone, in the folds of an experiment of recipe `ravdess-sequences` whose
features were extracted. Prints a JSON line per head, training and seed: the accuracy in %, mean of the folds,
with both inputs, with the voice alone, with the face alone.

    python benchmarks/study_sequences.py sequences/experiment.yaml --seeds 0,1,2 --folds 0,1,2
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers.framed import FramedHead
from pipeline.experiment import load
from pipeline.head_data import HeadData, load_data

TRAININGS = {
    "ia": ("softhard", "nodropout"),
    "versatile": ("all", "half stripped", "voice alone", "face alone"),
}


def stripped(
    data: HeadData, train: NDArray[np.int64], training: str, dice: np.random.Generator
) -> list[tuple[Any, ...]]:
    """Return the clips, the training clips among them as a training has them."""
    clips: list[tuple[Any, ...]] = [tuple(clip) for clip in data.inputs]
    if training in ("voice alone", "face alone"):
        for i in train:
            clips[i] = (clips[i][0], None) if training == "voice alone" else (None, clips[i][1])
    if training == "half stripped":
        for i in dice.permutation(train)[: len(train) // 2]:
            clips[i] = (clips[i][0], None) if dice.random() < 0.5 else (None, clips[i][1])
    return clips


def figures(file: Path, head: str, training: str, seed: int, chosen: list[int]) -> Iterator[list[float]]:
    """Yield the accuracies of each fold: with both, the voice alone, the face alone."""
    workspace = load(file)
    manifest = workspace.labelled()
    data = load_data(workspace, manifest, head)
    truth = np.asarray(data.labels)
    for fold in [f for f in workspace.folds(manifest) if f.index in chosen]:
        train = np.flatnonzero(np.isin(data.subjects, sorted(fold.train)))
        test = np.flatnonzero(np.isin(data.subjects, sorted(fold.test)))
        model = workspace.head(head).set_params(seed=seed)
        assert isinstance(model, FramedHead)
        if head == "ia":
            model.set_params(dropout=training)
        clips = stripped(data, train, training, np.random.default_rng([seed, fold.index]))
        type(model).fit_many([model], clips, data.targets, [train], data.subjects.tolist())
        X = [data.inputs[i] for i in test]
        said = (
            model.predict_proba(X),
            model.predict_degraded(X, 1, "absent"),
            model.predict_degraded(X, 0, "absent"),
        )
        yield [float((model.classes_[p.argmax(axis=1)] == truth[test]).mean()) for p in said]


def main() -> None:
    """Print a line per head, training and seed."""
    parser = argparse.ArgumentParser(description="Heads on two inputs when clips lack one.")
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--heads", default="ia,versatile")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folds", default="0,1,2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folds = [int(k) for k in arguments.folds.split(",")]
    for seed in map(int, arguments.seeds.split(",")):
        for head in arguments.heads.split(","):
            for training in TRAININGS[head]:
                began = time.perf_counter()
                found = np.array(list(figures(arguments.experiment, head, training, seed, folds)))
                names = ("both", "voice alone", "face alone")
                means = {
                    name: round(100 * value, 1) for name, value in zip(names, found.mean(axis=0), strict=True)
                }
                line = {"head": head, "training": training, "seed": seed, "folds": folds, "accuracy": means}
                line["seconds"] = round(time.perf_counter() - began)
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
