"""Scores of predicted values against true ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affectstack.concordance import concordance, concordance_of_moments
from pipeline.protocol import Protocol
from pipeline.statistics import subject_draws

_FLAT = 1e-12  # of the variance over all clips: below it, the values of some subjects count as one value


@dataclass(frozen=True)
class Estimate:
    """A figure over all clips together.

    Attributes:
        value: NaN where it is not defined.
        interval: Its 95 % interval over subjects, by bootstrap.
    """

    value: float
    interval: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Return it for `metrics.json`; what is not defined is null."""
        edges = [None if np.isnan(edge) else edge for edge in self.interval]
        return {"value": None if np.isnan(self.value) else self.value, "subject_interval_95": edges}


@dataclass(frozen=True)
class Moments:
    """Sums over the clips of each subject, from which every figure can be had for any draw of subjects.

    Both sides are centred by their means over all clips first, so that nothing is lost to large values.

    Attributes:
        counts: `[S]` clips.
        sums: `[S, 6, A]`: prediction, truth, their squares, their product, and the squared deviation.
        apart: `[A]`, mean prediction minus mean truth.
    """

    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    apart: NDArray[np.float64]

    @classmethod
    def of(cls, prediction: NDArray[np.float64], truth: NDArray[np.float64], subjects: Sequence[str]) -> Self:
        """Sum over subjects: `[N, A]`, `[N, A]`, `[N]`."""
        names, owner = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
        p, t = prediction - prediction.mean(axis=0), truth - truth.mean(axis=0)
        terms = np.stack([p, t, p**2, t**2, p * t, (prediction - truth) ** 2], axis=1)
        sums = np.zeros((len(names), *terms.shape[1:]))
        np.add.at(sums, owner, terms)
        counts = np.bincount(owner, minlength=len(names)).astype(np.float64)
        return cls(counts, sums, prediction.mean(axis=0) - truth.mean(axis=0))

    def figures(self, weights: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Return CCC, RMSE and Pearson's correlation, `[D, A]` each, of subjects that count so often.

        Args:
            weights: `[D, S]`.
        """
        clips = (weights @ self.counts)[:, None, None]
        means = np.tensordot(weights.astype(np.float64), self.sums, axes=1) / clips
        p, t, pp, tt, pt, squared = means.transpose(1, 0, 2)
        whole = self.sums.sum(axis=0) / self.counts.sum()
        p_var, t_var = (
            np.where(square - mean**2 > _FLAT * of_all, square - mean**2, 0.0)
            for square, mean, of_all in ((pp, p, whole[2]), (tt, t, whole[3]))
        )
        covariance = np.where((p_var > 0) & (t_var > 0), pt - p * t, 0.0)
        scale = np.sqrt(p_var * t_var)
        pearson = np.divide(covariance, scale, out=np.full_like(scale, np.nan), where=scale > 0)
        ccc = concordance_of_moments(covariance, p_var + t_var, p - t + self.apart)
        return {"ccc": ccc, "rmse": np.sqrt(squared), "pearson": pearson}


@dataclass(frozen=True)
class ValueScores:
    """How well a source or a fusion predicts values.

    Attributes:
        ccc: Concordance correlation coefficient of each attribute, over all test clips together.
        rmse: Root of the mean squared error of each attribute, in its own units.
        pearson: Pearson's correlation of each attribute.
        mean_ccc: Mean of the attributes' CCC.
        ccc_folds: CCC of each attribute on the clips of each outer fold.
        subjects: Mean CCC over attributes on the clips of each subject.
        prediction: `[N, A]` by clip id.
        drawn: `[D]`, the mean CCC of each draw of subjects, which another system's on the same clips pair
            with.
    """

    ccc: dict[str, Estimate]
    rmse: dict[str, Estimate]
    pearson: dict[str, Estimate]
    mean_ccc: Estimate
    ccc_folds: dict[str, list[float]]
    subjects: dict[str, float]
    prediction: pd.DataFrame
    drawn: NDArray[np.float64]

    @property
    def mean_ccc_folds(self) -> list[float]:
        """Mean CCC over attributes on each outer fold."""
        return [float(v) for v in np.mean(list(self.ccc_folds.values()), axis=0)]

    @property
    def mean_of_folds(self) -> float:
        """Mean over folds of the mean CCC."""
        return float(np.mean(self.mean_ccc_folds))

    def said(self) -> str:
        """Return the figures as the console shows them."""
        figures = [f"{with_interval(e)} {name}" for name, e in self.ccc.items()]
        mean = f"; mean {plain(self.mean_ccc.value)}" if len(figures) > 1 else ""
        return f"CCC {', '.join(figures)}{mean}"

    def as_json(self) -> dict[str, Any]:
        """Return the scores for `metrics.json`."""
        return {
            "clips": len(self.prediction),
            "mean_ccc": self.mean_ccc.as_json(),
            "mean_ccc_folds": self.mean_ccc_folds,
            "attributes": {
                name: {
                    "ccc": self.ccc[name].as_json(),
                    "rmse": self.rmse[name].as_json(),
                    "pearson": self.pearson[name].as_json(),
                    "ccc_folds": self.ccc_folds[name],
                    "ccc_mean_of_folds": float(np.mean(self.ccc_folds[name])),
                }
                for name in self.ccc
            },
            "subjects": self.subjects,
        }


def plain(value: float) -> str:
    """Return a coefficient as text, without the zero before the point; what is not there is a dash."""
    if np.isnan(value):
        return "–"
    text = f"{value:.2f}"
    return "0" if text in ("0.00", "-0.00") else text.replace("0.", ".", 1) if abs(value) < 1 else text


def with_interval(estimate: Estimate) -> str:
    """Return a figure and its interval as text."""
    low, high = map(plain, estimate.interval)
    return f"{plain(estimate.value)} [{low}, {high}]"


def score_values(
    folds: Sequence[tuple[Sequence[str], NDArray[np.float64]]], protocol: Protocol
) -> ValueScores:
    """Score test predictions.

    Args:
        folds: Per outer fold, the clips and their `[N, A]` values, in the protocol's order.
        protocol: The truth.
    """
    clips = [clip for own, _ in folds for clip in own]
    prediction, truth = np.concatenate([values for _, values in folds]), protocol.truth(clips)
    owners = protocol.subjects.loc[clips].to_numpy()
    moments = Moments.of(prediction, truth, owners.tolist())
    whole = moments.figures(np.ones((1, len(moments.counts))))
    drawn = moments.figures(subject_draws(len(moments.counts)))
    names = protocol.attributes

    def estimates(figure: str) -> dict[str, Estimate]:
        return {
            name: Estimate(float(whole[figure][0, a]), interval(drawn[figure][:, a]))
            for a, name in enumerate(names)
        }

    means = drawn["ccc"].mean(axis=1)
    by_fold = np.stack([concordance(values, protocol.truth(own)) for own, values in folds if len(own)])
    return ValueScores(
        ccc=estimates("ccc"),
        rmse=estimates("rmse"),
        pearson=estimates("pearson"),
        mean_ccc=Estimate(float(whole["ccc"][0].mean()), interval(means)),
        ccc_folds={name: by_fold[:, a].tolist() for a, name in enumerate(names)},
        subjects={
            s: float(concordance(prediction[owners == s], truth[owners == s]).mean())
            for s in sorted(set(owners))
        },
        prediction=pd.DataFrame(prediction, index=pd.Index(clips), columns=pd.Index(names)),
        drawn=means,
    )


def interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of draws, of those of them that are defined."""
    there = drawn[~np.isnan(drawn)]
    if not len(there):
        return float("nan"), float("nan")
    low, high = np.percentile(there, [2.5, 97.5])
    return float(low), float(high)
