"""Fusing and scoring an experiment on attributes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from affectstack import __version__
from affectstack.concordance import concordance, concordance_of_moments
from fusion import Combiner
from pipeline import stacking
from pipeline.fusing import Fused, beside, fused, having, having_any
from pipeline.posteriors import PosteriorTable, Split
from pipeline.protocol import Protocol
from pipeline.sections import FusionSpec, Stacking
from pipeline.sources import stored_sources
from pipeline.stacking import FoldRows, FusedFold
from pipeline.value_scores import Estimate, ValueScores, interval, score_values
from pipeline.workspace import Workspace

_CONTROLS = 5  # draws of permuted values


@dataclass(frozen=True)
class ValuePair:
    """Two systems on the clips that both have.

    Attributes:
        first: A source, or the fusion.
        second: Another.
        clips: How many both have.
        difference: Mean CCC of the first minus that of the second.
    """

    first: str
    second: str
    clips: int
    difference: Estimate

    def as_json(self) -> dict[str, Any]:
        """Return it for `metrics.json`."""
        difference = self.difference.as_json()
        return {"first": self.first, "second": self.second, "clips": self.clips, "difference": difference}


@dataclass(frozen=True)
class ValueControl:
    """A fusion whose values mean nothing; its heads are not trained again.

    Attributes:
        ccc: Mean CCC over attributes, mean of several draws.
        by_chance: What it would be if its values fell on each subject's clips at random; far more than that
            is a leak.
    """

    ccc: float
    by_chance: float


@dataclass(frozen=True, kw_only=True)
class ValueRun(Fused):
    """The result of one fusion of values.

    Attributes:
        attributes: In the order of the experiment.
        sources: Scores by source.
        fusion: Scores of the fusion.
        beside: Scores of the same fusion in the other grades that the sources allow; empty for rules.
        pairs: Every pair of sources, and each with the fusion, that have clips in common.
        control: The same fusion where the clips of each subject exchanged their values. None for rules,
            which learn nothing, and where the clips of a subject all have the same values.
        splits: Mean CCC of each source on its models' own training clips, on inner folds and on test clips;
            NaN where there are no such rows.
    """

    attributes: list[str]
    sources: dict[str, ValueScores]
    fusion: ValueScores
    beside: dict[Stacking, ValueScores]
    pairs: list[ValuePair]
    control: ValueControl | None
    splits: dict[str, dict[Split, float]]

    def metrics(self) -> dict[str, Any]:
        """Return what `metrics.json` holds."""
        return {
            "attributes": self.attributes,
            "sources": {name: s.as_json() for name, s in self.sources.items()},
            "fusion": {
                **self.fusion.as_json(),
                "method": self.spec.method,
                "stacking": self.spec.stacking,
                "sources": list(self.sources),
            },
            "beside": {grade: s.as_json() for grade, s in self.beside.items()},
            "pairs": [pair.as_json() for pair in self.pairs],
            "exchanged_values_control": None if self.control is None else vars(self.control),
            "folds": {"name": self.folds_name, "test_subjects": self.test_subjects},
            "flags": self.flags,
            "affectstack": __version__,
        }


def evaluate_values(workspace: Workspace) -> ValueRun:
    """Fuse and score, without writing anything."""
    protocol, experiment = Protocol.of(workspace), workspace.experiment
    tables = stored_sources(workspace, protocol)
    return fuse_and_score_values(tables, workspace.fuser(), experiment.fusion, protocol, experiment.note)


def fuse_and_score_values(
    tables: Sequence[PosteriorTable], fuser: Combiner, spec: FusionSpec, protocol: Protocol, note: str = ""
) -> ValueRun:
    """Fuse some sources and work out every statistic.

    Args:
        tables: The sources.
        fuser: An unfitted fuser.
        spec: How they are fused.
        protocol: Values, subjects and folds.
        note: A sentence for the reader.
    """
    made = fused(tables, fuser, spec, protocol, note)
    fusion = _score_folds(made.folds, protocol)
    sources = {
        table.about.source: score_values([having(f, i) for f in made.folds], protocol)
        for i, table in enumerate(tables)
    }
    others, flags = beside(tables, made)
    made.flags.extend(flags)
    systems = [("fused", fusion), *sources.items()]
    return ValueRun(
        **vars(made),
        attributes=protocol.attributes,
        sources=sources,
        fusion=fusion,
        beside={grade: _score_folds(folds, protocol) for grade, folds in others.items()},
        pairs=[p for a, b in combinations(systems, 2) if (p := paired(a, b, protocol)) is not None],
        control=_control(made.rows, fuser, protocol),
        splits={table.about.source: _splits(table, protocol) for table in tables},
    )


def _score_folds(folds: Sequence[FusedFold], protocol: Protocol) -> ValueScores:
    return score_values([having_any(fold) for fold in folds], protocol)


def paired(
    first: tuple[str, ValueScores], second: tuple[str, ValueScores], protocol: Protocol
) -> ValuePair | None:
    """Compare two systems on the clips that both have, subjects drawn alike; None if there are none."""
    clips = sorted(set(first[1].prediction.index) & set(second[1].prediction.index))
    if not clips:
        return None
    a, b = (score_values([(clips, s.prediction.loc[clips].to_numpy())], protocol) for _, s in (first, second))
    difference = Estimate(a.mean_ccc.value - b.mean_ccc.value, interval(a.drawn - b.drawn))
    return ValuePair(first[0], second[0], len(clips), difference)


def _splits(table: PosteriorTable, protocol: Protocol) -> dict[Split, float]:
    """Return a source's mean CCC on its own training clips, on inner folds and on test clips."""
    found: dict[Split, float] = {}
    for split in get_args(Split):
        parts = [table.part(split, k) for k in range(len(table.about.test_subjects))]
        clips = [clip for own, _ in parts for clip in own]
        said = np.concatenate([values for _, values in parts])
        found[split] = float(concordance(said, protocol.truth(clips)).mean()) if clips else float("nan")
    return found


def _control(rows: Sequence[FoldRows], fuser: Combiner, protocol: Protocol) -> ValueControl | None:
    """Fuse where the clips of each subject exchanged their values, several times."""
    rng = np.random.default_rng(0)
    owners = protocol.subjects.loc[protocol.values.index].to_numpy()
    if not fuser.trainable or (protocol.values.groupby(owners).nunique() < 2).any(axis=None):
        return None
    found, by_chance = [], []
    for _ in range(_CONTROLS):
        drawn = protocol.values.copy()
        for subject in sorted(set(owners)):
            own = np.flatnonzero(owners == subject)
            drawn.iloc[own] = protocol.values.iloc[rng.permutation(own)].to_numpy()
        permuted = replace(protocol, values=drawn)
        scores = _score_folds(stacking.fuse_rows(rows, fuser, permuted), permuted)
        found.append(scores.mean_ccc.value)
        by_chance.append(_by_chance(scores, permuted))
    return ValueControl(float(np.mean(found)), float(np.mean(by_chance)))


def _by_chance(scores: ValueScores, protocol: Protocol) -> float:
    """Return the mean CCC that is to be expected if the values of each subject fall on its clips at random.

    Only what the means of subjects have in common is left of the covariance. It is not 0: who knows which
    subjects have more of an attribute is right more often than that, without a leak.
    """
    prediction = scores.prediction.to_numpy()
    truth = protocol.truth(scores.prediction.index.tolist())
    owners = protocol.subjects.loc[scores.prediction.index].to_numpy()
    means = [_means_of_own(side, owners) for side in (prediction, truth)]
    apart = prediction.mean(axis=0) - truth.mean(axis=0)
    common = ((means[0] - prediction.mean(axis=0)) * (means[1] - truth.mean(axis=0))).mean(axis=0)
    return float(concordance_of_moments(common, prediction.var(axis=0) + truth.var(axis=0), apart).mean())


def _means_of_own(values: NDArray[np.float64], owners: NDArray[Any]) -> NDArray[np.float64]:
    """Return `[N, A]`, for every clip the mean over the clips of its subject."""
    out = np.empty_like(values)
    for subject in set(owners):
        out[owners == subject] = values[owners == subject].mean(axis=0)
    return out
