"""Fusing and scoring an experiment on classes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pandas as pd

from affectstack import __version__
from fusion import Combiner
from pipeline import stacking
from pipeline.fusing import Fused, beside, fused, having, having_any
from pipeline.posteriors import PosteriorTable, Split
from pipeline.protocol import Protocol
from pipeline.scoring import Scores, score
from pipeline.sections import FusionSpec, Stacking
from pipeline.sources import stored_sources
from pipeline.stacking import FoldRows, FusedFold
from pipeline.statistics import McNemar, mcnemar, subject_interval
from pipeline.workspace import Workspace

_CONTROLS = 5  # draws of permuted labels


@dataclass(frozen=True)
class Pair:
    """Two systems on the clips that both have.

    Attributes:
        first: A source, or the fusion.
        second: Another.
        difference: Accuracy of the first minus that of the second, over all common clips.
        interval: Its 95 % interval over subjects, by bootstrap.
        test: Exact McNemar test.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    test: McNemar


@dataclass(frozen=True)
class Control:
    """A fusion whose labels mean nothing; its heads are not trained again.

    Attributes:
        accuracy: Over all test clips, mean of several draws.
        by_chance: What it would be if its decisions fell on each subject's clips at random; far more than
            that is a leak.
    """

    accuracy: float
    by_chance: float


@dataclass(frozen=True, kw_only=True)
class Run(Fused):
    """The result of one fusion of posteriors.

    Attributes:
        classes: The class order.
        sources: Scores by source.
        fusion: Scores of the fusion.
        beside: Scores of the same fusion in the other grades that the sources allow; empty for rules.
        pairs: Every pair of sources, and each with the fusion, that have clips in common.
        oracle: Share of clips that at least one source has right.
        all_right: Share of clips that all sources have right.
        control: The same fusion where the clips of each subject exchanged their labels. None for rules,
            which learn nothing, and where the clips of a subject all have one label.
        splits: Accuracy of each source on its models' own training clips, on inner folds and on test clips;
            NaN where there are no such rows.
    """

    classes: list[str]
    sources: dict[str, Scores]
    fusion: Scores
    beside: dict[Stacking, Scores]
    pairs: list[Pair]
    oracle: float
    all_right: float
    control: Control | None
    splits: dict[str, dict[Split, float]]

    def metrics(self) -> dict[str, Any]:
        """Return what `metrics.json` holds."""
        return {
            "classes": self.classes,
            "sources": {name: s.as_json() for name, s in self.sources.items()},
            "fusion": {
                **self.fusion.as_json(),
                "method": self.spec.method,
                "stacking": self.spec.stacking,
                "temperature": self.spec.temperature,
                "sources": list(self.sources),
            },
            "beside": {grade: s.as_json() for grade, s in self.beside.items()},
            "pairs": [asdict(p) for p in self.pairs],
            "oracle": self.oracle,
            "all_right": self.all_right,
            "permuted_label_control": None if self.control is None else asdict(self.control),
            "folds": {"name": self.folds_name, "test_subjects": self.test_subjects},
            "flags": self.flags,
            "affectstack": __version__,
        }


def evaluate(workspace: Workspace) -> Run:
    """Fuse and score, without writing anything."""
    protocol = Protocol.of(workspace)
    experiment = workspace.experiment
    run = fuse_and_score(
        stored_sources(workspace, protocol), workspace.fuser(), experiment.fusion, protocol, experiment.note
    )
    if experiment.drop:
        classes = ", ".join(experiment.drop)
        run.flags.append(
            f"left out: no figure counts clips of class {classes}, as the experiment says (`drop`)"
        )
    return run


def fuse_and_score(
    tables: Sequence[PosteriorTable], fuser: Combiner, spec: FusionSpec, protocol: Protocol, note: str = ""
) -> Run:
    """Fuse some sources and work out every statistic.

    Args:
        tables: The sources.
        fuser: An unfitted fuser.
        spec: How they are fused.
        protocol: Labels, subjects and folds.
        note: A sentence for the reader.
    """
    made = fused(tables, fuser, spec, protocol, note)
    fusion = score_folds(made.folds, protocol)
    sources = {
        table.about.source: score([having(f, i) for f in made.folds], protocol)
        for i, table in enumerate(tables)
    }
    others, flags = beside(tables, made)
    made.flags.extend(flags)
    right = pd.DataFrame({name: pd.Series(s.right, dtype=object) for name, s in sources.items()}).eq(True)
    return Run(
        **vars(made),
        classes=protocol.classes,
        sources=sources,
        fusion=fusion,
        beside={grade: score_folds(folds, protocol) for grade, folds in others.items()},
        pairs=[
            _pair(a, b, protocol)
            for a, b in combinations([("fused", fusion), *sources.items()], 2)
            if set(a[1].right) & set(b[1].right)
        ],
        oracle=float(right.any(axis=1).mean()),
        all_right=float(right.all(axis=1).mean()),
        control=_control(made.rows, fuser, protocol),
        splits={table.about.source: _splits(table, protocol) for table in tables},
    )


def score_folds(folds: Sequence[FusedFold], protocol: Protocol) -> Scores:
    """Score fused folds, on the clips that have any source."""
    return score([having_any(fold) for fold in folds], protocol)


def _splits(table: PosteriorTable, protocol: Protocol) -> dict[Split, float]:
    """Return a source's accuracy on its own training clips, on inner folds and on test clips."""
    found: dict[Split, float] = {}
    for split in get_args(Split):
        right: list[bool] = []
        for k in range(len(table.about.test_subjects)):
            clips, P = table.part(split, k)
            names = np.array(table.about.classes)[P.argmax(axis=1)] if clips else np.array([])
            right += (names == protocol.labels.reindex(clips).to_numpy(dtype=object)).tolist()
        found[split] = float(np.mean(right)) if right else float("nan")
    return found


def _pair(first: tuple[str, Scores], second: tuple[str, Scores], protocol: Protocol) -> Pair:
    clips = sorted(set(first[1].right) & set(second[1].right))
    a, b = (np.array([s.right[c] for c in clips], dtype=np.bool_) for _, s in (first, second))
    gain = a.astype(np.float64) - b
    interval = subject_interval(gain, protocol.subjects.loc[clips].tolist())
    return Pair(first[0], second[0], float(gain.mean()), interval, mcnemar(a, b))


def _control(rows: Sequence[FoldRows], fuser: Combiner, protocol: Protocol) -> Control | None:
    """Fuse where the clips of each subject exchanged their labels, several times."""
    rng = np.random.default_rng(0)
    owners = protocol.subjects.loc[protocol.labels.index].to_numpy()
    if not fuser.trainable or (protocol.labels.groupby(owners).nunique() < 2).any():
        return None
    accuracies, by_chance = [], []
    for _ in range(_CONTROLS):
        drawn = protocol.labels.copy()
        for subject in sorted(set(owners)):
            drawn[owners == subject] = rng.permutation(protocol.labels[owners == subject].to_numpy())
        permuted = replace(protocol, labels=drawn)
        folds = stacking.fuse_rows(rows, fuser, permuted)
        accuracies.append(score_folds(folds, permuted).accuracy)
        by_chance.append(_by_chance(folds, permuted))
    return Control(float(np.mean(accuracies)), float(np.mean(by_chance)))


def _by_chance(folds: Sequence[FusedFold], protocol: Protocol) -> float:
    """Return how often decisions are right if those of each subject fall on its clips at random.

    It is not the share of the commonest class: who knows which classes a subject has more of is right more
    often than that, without a leak.
    """
    clips = [clip for fold in folds for clip in fold.clip_ids]
    decided = np.concatenate([fold.fused.argmax(axis=1) for fold in folds])
    table = pd.DataFrame(
        {
            "subject": protocol.subjects.loc[clips].to_numpy(),
            "label": protocol.labels.loc[clips].to_numpy(),
            "decided": np.asarray(protocol.classes, dtype=object)[decided],
        }
    )
    right = 0.0
    for _, own in table.groupby("subject"):
        labels, decisions = (own[c].value_counts(normalize=True) for c in ("label", "decided"))
        right += len(own) * float(labels.mul(decisions, fill_value=0).sum())
    return right / len(table)
