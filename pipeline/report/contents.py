"""What a report says, as tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.audit import odd
from pipeline.degraded import INTACT, Degraded
from pipeline.duplicates import Duplicates
from pipeline.evaluation import Run
from pipeline.fusing import Fused
from pipeline.report.leaks import lights, remarks
from pipeline.report.tables import Table
from pipeline.scoring import Scores, chance
from pipeline.statistics import holm
from pipeline.subsets import Subset
from pipeline.value_evaluation import ValueRun

_AUDITED = ("container_frames", "decoded_frames", "repeated", "missing", "start_difference", "end_difference")
_SHOWN = 50  # clips


def percent(share: float) -> str:
    """Return a share as text; what is not there is a dash."""
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


def systems(run: Run) -> dict[str, Scores]:
    """Return the sources and the fusion, by name."""
    return {**run.sources, run.fused_name: run.fusion}


def protocol(run: Run) -> str:
    """Return how the headline's figure came about, in some sentences."""
    low, high = run.fusion.interval
    return (
        f"Mean of {tested(run, int(run.fusion.confusion.sum()))} {len(run.fusion.subjects)} subjects, "
        f"{len(run.classes)} classes, chance {percent(chance(run.fusion.confusion))} %. {combined(run)} "
        f"The interval [{percent(low)}, {percent(high)}] is over subjects: so far the figure over all clips "
        "moves when subjects are drawn again."
    )


def tested(run: Fused, clips: int) -> str:
    """Return the sentence that says which models tested the clips."""
    claimed = any(about.claimed for about in run.abouts)
    unseen = "by models that, as was said when they were imported, had" if claimed else "by models that had"
    chosen = [about.source for about in run.abouts if about.selected_on_test]
    but = f", but those of {', '.join(chosen)} were chosen by these clips" if chosen else ""
    return (
        f"{len(run.folds)} folds by subject ({run.folds_name}): every one of {clips:,} clips was tested "
        f"once, {unseen} not been trained on its subject{but}."
    )


def combined(run: Fused) -> str:
    """Return the sentence that says how the sources were fused."""
    how = f", {run.spec.stacking}" if run.trained else ", which learns nothing"
    sources = f"{len(run.abouts)} sources" if len(run.abouts) > 1 else "one source"
    heat = ", each calibrated by a temperature" if run.spec.temperature else ""
    return f"Fused by {run.spec.method} from {sources}{heat}{how}."


def leak_table(run: Run | ValueRun, duplicates: Duplicates | None) -> Table:
    """Return the leak panel."""
    every = (*lights(run, duplicates), *remarks(run))
    rows = [(light.level, light.name, light.number, light.sentence) for light in every]
    return Table("Leaks", ["level", "what", "number", "found"], rows, wide=frozenset({2, 3}))


def fold_table(run: Run) -> Table:
    """Return the accuracy of every fold."""
    rows = [_fold_row(name, scores) for name, scores in systems(run).items()]
    rows += [_fold_row(f"the same, {grade}", scores) for grade, scores in run.beside.items()]
    return Table(
        "Accuracy per fold, %",
        ["source", *(f"fold {k}" for k in range(len(run.folds))), "mean", "UAR", "macro F1"],
        rows,
        "Mean: of the fold accuracies. UAR and macro F1: over all test clips together.",
        frozenset({len(run.sources)}),
    )


def _fold_row(name: str, scores: Scores) -> list[str]:
    shares = [*scores.accuracy_folds, scores.accuracy_mean, scores.uar, scores.macro_f1]
    return [name, *map(percent, shares)]


def certainty_table(run: Run) -> Table:
    """Return intervals, calibration and the spread over subjects."""
    rows = []
    for name, s in systems(run).items():
        spread, c = s.subject_spread, s.calibration
        worst = spread["worst"]
        interval = f"{percent(s.interval[0])} – {percent(s.interval[1])}"
        rows.append(
            [name, percent(s.accuracy), interval, percent(s.binomial),
             *(f"{v:.3f}" for v in (c.nll, c.brier, c.ece)), percent(spread["deviation"]),
             f"{percent(worst['accuracy'])} ({worst['subject']})"]
        )  # fmt: skip
    return Table(
        "How sure, how calibrated",
        [
            "system",
            "all clips",
            "95 % over subjects",
            "± binomial",
            "NLL",
            "Brier",
            "ECE",
            "subjects, sd",
            "worst",
        ],
        rows,
        "Accuracy in % over all clips together; ± binomial takes clips for independent, as papers do. At "
        f"least one source is right on {percent(run.oracle)} % of the clips, all are on "
        f"{percent(run.all_right)} %.",
        frozenset({len(run.sources)}),
    )


def pair_table(run: Run) -> Table:
    """Return the paired tests."""
    rows = []
    corrected = holm([p.test.p for p in run.pairs])
    for p, sure in zip(run.pairs, corrected, strict=True):
        low, high = (100 * edge for edge in p.interval)
        rows.append(
            [f"{p.first} against {p.second}", f"{100 * p.difference:+.2f}", f"{low:+.2f} – {high:+.2f}",
             str(p.test.first_only), str(p.test.second_only), f"{p.test.p:.2g}", f"{sure:.2g}"]
        )  # fmt: skip
    return Table(
        "Differences, clips that both have",
        ["first against second", "points", "95 % over subjects", "only first right", "only second right",
         "p, exact McNemar", "p, Holm"],
        rows,
        "McNemar's test takes clips for independent, which those of one subject are not; the interval does "
        f"not. Holm: corrected for {len(rows)} tests.",
    )  # fmt: skip


def recall_table(run: Run) -> Table:
    """Return the recall of every class."""
    rows = [
        [name, *(percent(s.recalls.get(c, float("nan"))) for c in run.classes)]
        for name, s in systems(run).items()
    ]
    return Table("Recall per class, %", ["system", *run.classes], rows, strong=frozenset({len(run.sources)}))


def confusion_table(run: Run) -> Table:
    """Return the confusion of the fusion."""
    rows = [[c, *map(str, row)] for c, row in zip(run.classes, run.fusion.confusion.tolist(), strict=True)]
    return Table("Confusion of the fusion, clips", ["true \\ decided", *run.classes], rows)


def split_table(run: Run) -> Table:
    """Return what each source's models do on clips that they were trained on, and on others."""
    rows = []
    for name, splits in run.splits.items():
        gap = splits["train"] - splits["test"]
        shares = [percent(splits[split]) for split in ("train", "oof", "test")]
        rows.append([name, *shares, "–" if np.isnan(gap) else f"{100 * gap:+.1f}"])
    return Table(
        "In-sample against out-of-fold, accuracy in %",
        ["source", "own training clips", "inner folds", "test clips", "training over test, points"],
        rows,
        "A fusion that learns from the first column (in-sample) believes in a certainty that test clips do "
        "not have; one that learns from the second (nested) does not.",
    )


def degraded_table(degraded: Sequence[Degraded]) -> Table:
    """Return what heads of several inputs do without one of them."""
    rows = []
    for d in degraded:
        low, high = d.interval
        rows.append(
            [d.head, d.feature, d.how, percent(d.accuracy), f"{percent(low)} – {percent(high)}",
             f"{0 - 100 * d.drop:+.1f}", percent(d.changed)]
        )  # fmt: skip
    return Table(
        "Heads without one of their inputs, test clips that have all",
        [
            "head",
            "input",
            "in its place",
            "accuracy, %",
            "95 % over subjects",
            "points",
            "decided otherwise, %",
        ],
        rows,
        "Absent: as if the clip had none. Zeros, noise (of mean 0 and deviation 1) and added noise (of the "
        "clip's own mean and deviation) stand for it after scaling. Points: against the same clips, intact.",
        frozenset(i for i, d in enumerate(degraded) if d.how == INTACT),
        frozenset({1, 2}),
    )


def weight_table(run: Run, subsets: Sequence[Subset]) -> Table:
    """Return what each source weighs, and what it changes."""
    fitted = [
        weights
        for f in run.folds
        if f.fitted is not None and (weights := f.fitted.source_weights()) is not None
    ]
    rows = []
    for s, name in enumerate(run.sources):
        row = [name, "–"]
        if fitted:
            own = np.array([weights[s] for weights in fitted])
            row[1] = f"{own.mean():.2f} ({own.min():.2f} – {own.max():.2f})"
        without = next((x for x in subsets if set(x.sources) == set(run.sources) - {name}), None)
        if without is None:
            row += ["–"] * 4
        else:
            worth = without.whole - without.scores.accuracy_mean
            row += [str(without.changed), str(without.lost), str(without.gained), f"{100 * worth:+.1f}"]
        rows.append(row)
    return Table(
        "What each source weighs and changes",
        ["source", "weight, mean of folds (range)", "decisions changed", "made right", "made wrong",
         "worth, points"],
        rows,
        "Changed: clips that the fusion decides otherwise than the same fusion"
        f"{', trained anew,' if run.trained else ''} without this source."
        + (" Weights compare only where sources are calibrated alike." if fitted else ""),
    )  # fmt: skip


def subset_table(run: Run, subsets: Sequence[Subset]) -> Table:
    """Return the missing-modality matrix."""
    rows = []
    for subset in subsets:
        s = subset.scores
        drop = s.accuracy_mean - subset.whole
        rows.append(
            [", ".join(subset.sources), str(len(s.right)), percent(s.accuracy_mean),
             f"{percent(s.interval[0])} – {percent(s.interval[1])}", percent(s.uar), f"{100 * drop:+.1f}",
             "–" if subset.uniform is None else percent(subset.uniform), str(subset.changed)]
        )  # fmt: skip
    seen = len(subsets) == 2 ** len(run.sources) - 1
    which = "Every subset of the sources" if seen else "Small and nearly whole subsets of the sources"
    trained = ", fused by a fusion that was trained for just these" if run.trained else ""
    return Table(
        "When sources are missing",
        ["sources that are there", "clips", "accuracy, %", "95 % over subjects", "UAR, %", "points",
         "not trained for it, %", "decisions changed"],
        rows,
        f"{which}{trained}, on the clips that have any of them. Points are against all sources on the same "
        "clips. Not trained for it: the fusion of all sources, with equal posteriors in place of those that "
        "are missing.",
        frozenset({0}),
    )  # fmt: skip


def audit_table(audit: pd.DataFrame) -> Table:
    """Return the clips whose files are not what they say.

    Args:
        audit: See `pipeline.audit.read_audit`.
    """
    is_odd = odd(audit)
    shown = audit[is_odd]
    counts = ", ".join(
        f"{name}: {len(own)} clips, {int(own.sum())} odd"
        for name, own in is_odd.groupby(audit["feature"], sort=False)
    )
    rows = [
        [
            row["clip_id"],
            row["view"] or "–",
            row["feature"],
            *(_number(row[c]) for c in _AUDITED),
            row["remarks"],
        ]
        for row in shown.head(_SHOWN).to_dict("records")
    ]
    rest = len(shown) - _SHOWN
    more = f" {rest} more are in audit.csv beside the features." if rest > 0 else ""
    note = (
        f"{counts}.{more}"
        if counts
        else ("No feature here has one: none decodes media, or they were extracted before there were audits.")
    )
    return Table(
        "Decode audit",
        ["clip", "view", "feature", "frames stated", "decoded", "repeated", "missing", "sound starts, s",
         "sound ends, s", "remarks"],
        rows,
        f"What containers say, against what was decoded; the sound's times are against the picture's. {note}",
        wide=frozenset({9}),
    )  # fmt: skip


def _number(value: Any) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:+.2f}" if isinstance(value, float) else str(value)


def subject_table(run: Fused) -> Table:
    """Return who was tested when."""
    rows = [
        [str(k), str(len(run.folds[k].clip_ids)), ", ".join(subjects)]
        for k, subjects in enumerate(run.test_subjects)
    ]
    return Table("Test subjects", ["fold", "clips", "subjects"], rows)


def tables(
    run: Run,
    subsets: Sequence[Subset],
    audit: pd.DataFrame,
    duplicates: Duplicates | None,
    degraded: Sequence[Degraded] = (),
) -> list[Table]:
    """Return everything, for a paper."""
    return [
        leak_table(run, duplicates),
        fold_table(run),
        certainty_table(run),
        pair_table(run),
        weight_table(run, subsets),
        subset_table(run, subsets),
        *([degraded_table(degraded)] if degraded else []),
        split_table(run),
        recall_table(run),
        confusion_table(run),
        subject_table(run),
        audit_table(audit),
    ]
