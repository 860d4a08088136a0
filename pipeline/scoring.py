"""Scores of posteriors against labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score


@dataclass(frozen=True)
class Scores:
    """How well a source or a fusion does; all shares are of 1.

    Attributes:
        accuracy_folds: Accuracy of each outer fold.
        accuracy_mean: Their mean, the number that the papers report.
        uar: Unweighted average recall over all test clips together.
        macro_f1: Macro F1 over all test clips together.
        confusion: `[K, K]` counts over all test clips; rows are the truth.
    """

    accuracy_folds: list[float]
    accuracy_mean: float
    uar: float
    macro_f1: float
    confusion: NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """Return the scores for `metrics.json`."""
        return {
            "accuracy_folds": self.accuracy_folds,
            "accuracy_mean": self.accuracy_mean,
            "uar": self.uar,
            "macro_f1": self.macro_f1,
            "confusion": self.confusion.tolist(),
        }


def score(
    folds: Sequence[tuple[Sequence[str], NDArray[np.float64]]], labels: pd.Series, classes: Sequence[str]
) -> Scores:
    """Score test posteriors.

    Args:
        folds: Per outer fold, the clips and their `[N, K]` posteriors.
        labels: Class names by clip id.
        classes: The class order of the posteriors.
    """
    names = np.asarray(classes)
    truth = [labels.loc[list(clips)].to_numpy() for clips, _ in folds]
    guess = [names[p.argmax(axis=1)] for _, p in folds]
    accuracies = [float(accuracy_score(t, g)) for t, g in zip(truth, guess, strict=True)]
    all_truth, all_guess = np.concatenate(truth), np.concatenate(guess)
    there = [c for c in classes if c in set(all_truth)]
    return Scores(
        accuracy_folds=accuracies,
        accuracy_mean=float(np.mean(accuracies)),
        uar=float(recall_score(all_truth, all_guess, labels=there, average="macro", zero_division=0)),
        macro_f1=float(f1_score(all_truth, all_guess, labels=there, average="macro", zero_division=0)),
        confusion=confusion_matrix(all_truth, all_guess, labels=list(classes)).astype(np.int64),
    )


def chance(confusion: NDArray[np.int64]) -> float:
    """Return the accuracy of always naming the commonest class."""
    return float(confusion.sum(axis=1).max() / confusion.sum())
