"""Scores of posteriors against labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from pipeline.protocol import Protocol
from pipeline.statistics import Calibration, binomial_half_width, calibration, subject_interval


@dataclass(frozen=True)
class Scores:
    """How well a source or a fusion does; all shares are of 1.

    Attributes:
        accuracy_folds: Accuracy of each outer fold.
        accuracy_mean: Their mean, the number that the papers report.
        accuracy: Over all test clips together.
        binomial: Half the width of the 95 % interval of `accuracy_mean` if all clips were independent.
        interval: 95 % interval of `accuracy` over subjects, by bootstrap.
        uar: Unweighted average recall over all test clips together.
        macro_f1: Macro F1 over all test clips together.
        recalls: Recall of each class that occurs.
        subjects: Accuracy of each subject.
        calibration: How far the posteriors can be believed.
        confusion: `[K, K]` counts over all test clips; rows are the truth.
        right: Whether each test clip is right, by clip id.
    """

    accuracy_folds: list[float]
    accuracy_mean: float
    accuracy: float
    binomial: float
    interval: tuple[float, float]
    uar: float
    macro_f1: float
    recalls: dict[str, float]
    subjects: dict[str, float]
    calibration: Calibration
    confusion: NDArray[np.int64]
    right: dict[str, bool]

    @property
    def subject_spread(self) -> dict[str, Any]:
        """Standard deviation over subjects, and the worst and the best of them."""
        values = np.array(list(self.subjects.values()))
        names = list(self.subjects)
        return {
            "deviation": float(values.std()),
            "worst": {"subject": names[int(values.argmin())], "accuracy": float(values.min())},
            "best": {"subject": names[int(values.argmax())], "accuracy": float(values.max())},
        }

    def as_json(self) -> dict[str, Any]:
        """Return the scores for `metrics.json`."""
        return {
            "accuracy_folds": self.accuracy_folds,
            "accuracy_mean": self.accuracy_mean,
            "accuracy": self.accuracy,
            "binomial_95": self.binomial,
            "subject_interval_95": list(self.interval),
            "uar": self.uar,
            "macro_f1": self.macro_f1,
            "recalls": self.recalls,
            "subjects": self.subjects,
            "subject_spread": self.subject_spread,
            **asdict(self.calibration),
            "confusion": self.confusion.tolist(),
        }


def score(folds: Sequence[tuple[Sequence[str], NDArray[np.float64]]], protocol: Protocol) -> Scores:
    """Score test posteriors.

    Args:
        folds: Per outer fold, the clips and their `[N, K]` posteriors, classes in the protocol's order.
        protocol: The truth.
    """
    classes, number = protocol.classes, {c: i for i, c in enumerate(protocol.classes)}
    clips = [c for own, _ in folds for c in own]
    P = np.concatenate([p for _, p in folds])
    truth = np.array([number[label] for label in protocol.labels.loc[clips]])
    guess = P.argmax(axis=1)
    right = guess == truth
    edges = np.cumsum([len(own) for own, _ in folds])[:-1]
    accuracies = [float(part.mean()) for part in np.split(right, edges)]
    owners = protocol.subjects.loc[clips].to_numpy()
    there = sorted(set(truth.tolist()))
    recalls = recall_score(truth, guess, labels=there, average=None, zero_division=0)
    mean = float(np.mean(accuracies))
    return Scores(
        accuracy_folds=accuracies,
        accuracy_mean=mean,
        accuracy=float(right.mean()),
        binomial=binomial_half_width(mean, len(clips)),
        interval=subject_interval(right, owners.tolist()),
        uar=float(np.mean(recalls)),
        macro_f1=float(f1_score(truth, guess, labels=there, average="macro", zero_division=0)),
        recalls={classes[k]: float(r) for k, r in zip(there, recalls, strict=True)},
        subjects={s: float(right[owners == s].mean()) for s in sorted(set(owners))},
        calibration=calibration(P, truth),
        confusion=confusion_matrix(truth, guess, labels=range(len(classes))).astype(np.int64),
        right=dict(zip(clips, right.tolist(), strict=True)),
    )


def chance(confusion: NDArray[np.int64]) -> float:
    """Return the accuracy of always naming the commonest class."""
    return float(confusion.sum(axis=1).max() / confusion.sum())
