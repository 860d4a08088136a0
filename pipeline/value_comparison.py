"""Runs of experiments on attributes side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from manifests import Fold, Folds
from pipeline.comparison import common_clips, draw_intervals, marks, runs_table, same_folds
from pipeline.protocol import Protocol
from pipeline.report import page
from pipeline.report.page import SOFT
from pipeline.report.tables import Table
from pipeline.runs import StoredRun
from pipeline.value_evaluation import ValuePair, paired
from pipeline.value_scores import ValueScores, plain, score_values, with_interval


@dataclass(frozen=True)
class ValueComparison:
    """Several runs on the clips that all of them have.

    Attributes:
        runs: In the order they were named.
        scores: Of each, on the common clips.
        clips: How many are common.
        attributes: In the order of the first.
        same_folds: Whether all were tested on the same folds.
        differences: Of every pair.
    """

    runs: list[StoredRun]
    scores: list[ValueScores]
    clips: int
    attributes: list[str]
    same_folds: bool
    differences: list[ValuePair]


def compare_values(runs: Sequence[StoredRun]) -> ValueComparison:
    """Score runs on the clips that all of them have, and compare every pair.

    Raises:
        RunError: If they have other attributes or no clip in common, or a clip has another value or subject.
    """
    common = common_clips(runs)
    protocol = _protocol(runs[0])
    scores = [_score(run, common, protocol) for run in runs]
    named = [(run.name, own) for run, own in zip(runs, scores, strict=True)]
    pairs = [pair for a, b in combinations(named, 2) if (pair := paired(a, b, protocol)) is not None]
    return ValueComparison(list(runs), scores, len(common), protocol.attributes, same_folds(runs), pairs)


def _protocol(stored: StoredRun) -> Protocol:
    clips, everybody = stored.clips, frozenset(stored.clips["subject"])
    folds = [
        Fold(k, frozenset(test), everybody - frozenset(test), ())
        for k, test in enumerate(stored.test_subjects)
    ]
    values = clips[stored.targets.truth_columns].astype("float64")
    values.columns = pd.Index(stored.targets.attributes)
    none = pd.Series(dtype=object)
    return Protocol("", [], none, clips["subject"], Folds(folds, stored.folds_name), values)


def _score(stored: StoredRun, common: Sequence[str], protocol: Protocol) -> ValueScores:
    """Score a run on some of its clips, fold by fold, in the order of its own folds."""
    said = pd.DataFrame(stored.posteriors, index=stored.clips.index, columns=list(stored.targets.attributes))
    said, fold = said[protocol.attributes], stored.clips["fold"].loc[list(common)]
    parts = []
    for k in sorted(set(fold)):
        own = [clip for clip in common if fold[clip] == k]
        parts.append((own, said.loc[own].to_numpy()))
    return score_values(parts, protocol)


def make_value_tables(found: ValueComparison) -> list[Table]:
    """Return what is known of the runs as tables."""
    return [runs_table(found.runs), _figures_table(found), _differences_table(found)]


def _figures_table(found: ValueComparison) -> Table:
    rows = [
        [
            run.name,
            *(with_interval(s.ccc[a]) for a in found.attributes),
            with_interval(s.mean_ccc),
            plain(s.mean_of_folds),
            ", ".join(marks(run)) or "–",
        ]
        for run, s in zip(found.runs, found.scores, strict=True)
    ]
    left = [
        f"{r.name} has {len(r.clips) - found.clips} more" for r in found.runs if len(r.clips) > found.clips
    ]
    note = "CCC over all common clips, [95 % over subjects]."
    if left:
        note += f" Clips that not all runs have are left out: {', '.join(left)}."
    return Table(
        f"CCC on the {found.clips} common clips",
        ["run", *found.attributes, "mean", "mean of folds", "marks"],
        rows,
        note,
    )


def _differences_table(found: ValueComparison) -> Table:
    rows = []
    for pair in found.differences:
        low, high = pair.difference.interval
        rows.append(
            [
                f"{pair.first} against {pair.second}",
                f"{pair.difference.value:+.3f}",
                f"{low:+.3f} – {high:+.3f}",
            ]
        )
    note = "Mean CCC over all common clips, both runs on the same draws of subjects."
    if not found.same_folds:
        note += " The runs were tested on different folds, so a difference also holds what the split makes."
    return Table("Differences", ["first against second", "mean CCC", "95 % over subjects"], rows, note)


def values_chart(found: ValueComparison) -> Markup:
    """Return mean CCCs and differences with their intervals over subjects, as SVG."""
    with page.style():
        height = 1.1 + 0.32 * max(len(found.runs), len(found.differences))
        figure = Figure(figsize=(9.0, height), layout="constrained")
        left, right = figure.subplots(1, 2)
        means = [(s.mean_ccc.value, s.mean_ccc.interval) for s in found.scores]
        draw_intervals(left, [run.name for run in found.runs], means)
        left.set_xlabel("mean CCC, all common clips")
        names = [f"{pair.first}\nagainst {pair.second}" for pair in found.differences]
        differences = [(pair.difference.value, pair.difference.interval) for pair in found.differences]
        draw_intervals(right, names, differences)
        right.axvline(0, color=SOFT, linewidth=1, linestyle="--")
        right.set_xlabel("difference of the mean CCC")
        return page.svg(figure, "Mean CCC of every run and difference of every pair, with 95 % intervals")
