"""What a report on attributes says, as tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fusion import ValueFuser
from pipeline.duplicates import Duplicates
from pipeline.report.contents import audit_table, combined, leak_table, subject_table, tested
from pipeline.report.tables import Table
from pipeline.value_evaluation import ValueRun
from pipeline.value_scores import Estimate, ValueScores, plain, with_interval

SHOWN = 30  # deviations


def systems(run: ValueRun) -> dict[str, ValueScores]:
    """Return the sources and the fusion, by name."""
    return {**run.sources, run.fused_name: run.fusion}


def headline(run: ValueRun) -> str:
    """Return the result in words."""
    found = run.fusion.ccc
    parts = [f"{with_interval(e)} for {name}" for name, e in found.items()]
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    best = max(run.sources, key=lambda name: run.sources[name].mean_ccc.value)
    words = f"The fusion agrees with the labels by a CCC of {listed} (1: equal, 0: nothing in common). "
    if len(run.sources) == 1:
        return words + "There is one source, so the fusion can add little to it."
    pair = next((p for p in run.pairs if (p.first, p.second) == ("fused", best)), None)
    if pair is None:
        return words + f"The best source is {best}, mean CCC {plain(run.sources[best].mean_ccc.value)}."
    low, high = pair.difference.interval
    sure = "An interval with 0 in it is no difference that can be relied on." if low <= 0 <= high else ""
    return (
        f"{words}Against {best}, the best source, its mean CCC is {pair.difference.value:+.3f} "
        f"[{low:+.3f}, {high:+.3f}]. {sure}"
    ).strip()


def protocol(run: ValueRun) -> str:
    """Return how the headline's figures came about, in some sentences."""
    return (
        f"{tested(run, len(run.fusion.prediction))} {len(run.fusion.subjects)} subjects. {combined(run)} "
        "Figures are over all clips together; intervals are over subjects: so far a figure moves when "
        "subjects are drawn again."
    )


def concordance_table(run: ValueRun) -> Table:
    """Return the CCC of every system and attribute."""
    rows = [_concordance_row(name, scores) for name, scores in systems(run).items()]
    rows += [_concordance_row(f"the same, {grade}", scores) for grade, scores in run.beside.items()]
    return Table(
        "Concordance (CCC) by attribute",
        ["system", "clips", *run.attributes, "mean"],
        rows,
        "Lin's concordance correlation coefficient over all test clips together, [95 % over subjects].",
        frozenset({len(run.sources)}),
    )


def _concordance_row(name: str, scores: ValueScores) -> list[str]:
    figures = [*scores.ccc.values(), scores.mean_ccc]
    return [name, str(len(scores.prediction)), *map(with_interval, figures)]


def error_table(run: ValueRun) -> Table:
    """Return the errors of every system and attribute."""
    rows = [[name, *map(_number, s.rmse.values())] for name, s in systems(run).items()]
    return Table(
        "Errors (RMSE) by attribute",
        ["system", *run.attributes],
        rows,
        "Root of the mean squared error over all test clips together, in the units of the attribute, [95 % "
        "over subjects].",
        frozenset({len(run.sources)}),
    )


def correlation_table(run: ValueRun) -> Table:
    """Return the correlations of every system and attribute."""
    rows = [[name, *map(with_interval, s.pearson.values())] for name, s in systems(run).items()]
    return Table(
        "Correlations (Pearson) by attribute",
        ["system", *run.attributes],
        rows,
        "Over all test clips together, [95 % over subjects]. Where a correlation is far above the CCC, "
        "predictions have the wrong mean or spread.",
        frozenset({len(run.sources)}),
    )


def _number(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:#.3g} [{low:#.3g}, {high:#.3g}]"


def fold_table(run: ValueRun) -> Table:
    """Return the CCC of every fold: of all systems, and of the fusion by attribute."""
    rows = [[name, *map(plain, [*s.mean_ccc_folds, s.mean_of_folds])] for name, s in systems(run).items()]
    if len(run.attributes) > 1:
        for name, folds in run.fusion.ccc_folds.items():
            rows.append([f"{run.fused_name}, {name}", *map(plain, [*folds, float(np.mean(folds))])])
    return Table(
        "CCC per fold, mean of the attributes",
        ["system", *(f"fold {k}" for k in range(len(run.folds))), "mean"],
        rows,
        "A CCC of fewer clips is not that of all of them, so the mean of folds is another figure than above.",
        frozenset({len(run.sources)}),
    )


def pair_table(run: ValueRun) -> Table:
    """Return the differences of all pairs."""
    rows = []
    for p in run.pairs:
        low, high = p.difference.interval
        rows.append(
            [f"{p.first} against {p.second}", str(p.clips), f"{p.difference.value:+.3f}",
             f"{low:+.3f} – {high:+.3f}"]
        )  # fmt: skip
    return Table(
        "Differences of the mean CCC, clips that both have",
        ["first against second", "clips", "mean CCC", "95 % over subjects"],
        rows,
        "Both systems on the same draws of subjects.",
    )


def weight_table(run: ValueRun) -> Table:
    """Return what each source weighs for each attribute, where the fusion has weights."""
    rows = []
    for s, name in enumerate(run.sources):
        row = [name]
        for a in range(len(run.attributes)):
            own = np.array([w for f in run.folds if (w := _weight(f.fitted, s, a)) is not None])
            row.append(f"{own.mean():.2f} ({own.min():.2f} – {own.max():.2f})" if len(own) else "–")
        rows.append(row)
    return Table(
        "What each source weighs",
        ["source", *run.attributes],
        rows,
        "Mean of the folds (range). Weights compare only where sources predict with the same spread.",
    )


def _weight(fuser: object, source: int, attribute: int) -> float | None:
    """Return a weight of a fitted fuser; None if it has none, or none was fitted."""
    if not isinstance(fuser, ValueFuser):
        return None
    by_attribute, alike = fuser.attribute_weights(), fuser.source_weights()
    if by_attribute is not None:
        return float(by_attribute[source, attribute])
    return None if alike is None else float(alike[source])


def split_table(run: ValueRun) -> Table:
    """Return what each source's models do on clips that they were trained on, and on others."""
    rows = []
    for name, splits in run.splits.items():
        gap = splits["train"] - splits["test"]
        figures = [plain(splits[split]) for split in ("train", "oof", "test")]
        rows.append([name, *figures, "–" if np.isnan(gap) else f"{gap:+.2f}"])
    return Table(
        "In-sample against out-of-fold, mean CCC",
        ["source", "own training clips", "inner folds", "test clips", "training over test"],
        rows,
        "A fusion that learns from the first column (in-sample) believes in an agreement that test clips do "
        "not have; one that learns from the second (nested) does not.",
    )


def deviations(run: ValueRun) -> pd.Series:
    """Return how far the fusion is from each clip, by clip id, the furthest first.

    It is the root of the mean squared deviation over attributes, each in standard deviations of its true
    values.
    """
    said = run.fusion.prediction
    truth = run.protocol.values.loc[said.index]
    spread = truth.std(ddof=0).replace(0.0, 1.0)
    far = np.sqrt((((said - truth) / spread) ** 2).mean(axis=1))
    return far.sort_values(ascending=False, kind="stable")


def deviation_table(run: ValueRun) -> Table:
    """Return the largest deviations of the fusion."""
    fold = {clip: k for k, f in enumerate(run.folds) for clip in f.clip_ids}
    said, truth = run.fusion.prediction, run.protocol.values
    worst = deviations(run).head(SHOWN)
    clips = [str(clip) for clip in worst.index]
    owners = run.protocol.subjects.loc[clips].tolist()
    pairs = zip(said.loc[clips].to_numpy().tolist(), truth.loc[clips].to_numpy().tolist(), strict=True)
    cells = [[f"{p:.3g} ({t:.3g})" for p, t in zip(*pair, strict=True)] for pair in pairs]
    rows = [
        [clip, str(owner), str(fold[clip]), *own, f"{far:.2f}"]
        for clip, owner, own, far in zip(clips, owners, cells, worst, strict=True)
    ]
    return Table(
        "Largest deviations of the fusion",
        ["clip", "subject", "fold", *(f"{a}, said (true)" for a in run.attributes), "deviation"],
        rows,
        "Deviation: root of the mean square over attributes, each in standard deviations of its true values. "
        f"{len(rows)} of {len(said):,} clips; fused.parquet holds all of them.",
    )


def tables(run: ValueRun, audit: pd.DataFrame) -> dict[str, Table]:
    """Return what the page shows below its figures, by the name of the panel."""
    found = {
        "concordance": concordance_table(run),
        "error": error_table(run),
        "correlation": correlation_table(run),
        "folds": fold_table(run),
        "differences": pair_table(run),
        "weights": weight_table(run),
        "in-sample": split_table(run),
        "deviations": deviation_table(run),
        "tested": subject_table(run),
        "audit": audit_table(audit),
    }
    weighs = any(cell != "–" for row in found["weights"].rows for cell in row[1:])
    return {name: table for name, table in found.items() if name != "weights" or weighs}


def paper_tables(run: ValueRun, audit: pd.DataFrame, duplicates: Duplicates | None) -> Sequence[Table]:
    """Return everything, for a paper."""
    return [leak_table(run, duplicates), *tables(run, audit).values()]
