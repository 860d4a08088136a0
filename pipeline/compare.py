"""`python -m pipeline.compare RUN RUN…`: the same figures side by side, with paired tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from markupsafe import Markup
from matplotlib.figure import Figure

from affectstack import __version__
from manifests import Fold, Folds
from pipeline.cli import EXIT_OK, relative_to_cwd, run, say
from pipeline.comparison import common_clips, draw_intervals, marks, runs_table, same_folds
from pipeline.files import publish
from pipeline.protocol import Protocol
from pipeline.report import page
from pipeline.report.page import SOFT
from pipeline.report.tables import Form, Table, write
from pipeline.runs import RunError, SourceFigures, StoredRun, read_runs
from pipeline.scoring import Scores, score
from pipeline.statistics import McNemar, holm, mcnemar, subject_interval
from pipeline.value_comparison import compare_values, make_value_tables, values_chart

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Difference:
    """Two runs on the clips that all runs have.

    Attributes:
        first: A run.
        second: Another.
        points: Accuracy of the first minus that of the second.
        interval: Its 95 % interval over subjects, by bootstrap.
        test: Exact McNemar test.
        holm: Its p, corrected by Holm for all pairs.
    """

    first: str
    second: str
    points: float
    interval: tuple[float, float]
    test: McNemar
    holm: float


@dataclass(frozen=True)
class Comparison:
    """Several runs on the clips that all of them have.

    Attributes:
        runs: In the order they were named.
        scores: Of each, on the common clips.
        clips: How many are common.
        classes: The class order of the first.
        same_folds: Whether all were tested on the same folds.
        differences: Of every pair.
    """

    runs: list[StoredRun]
    scores: list[Scores]
    clips: int
    classes: list[str]
    same_folds: bool
    differences: list[Difference]


def compare_runs(runs: Sequence[StoredRun]) -> Comparison:
    """Score runs on the clips that all of them have, and compare every pair.

    Raises:
        RunError: If they have other classes or no clip in common, or a clip has another label or subject.
    """
    first, common = runs[0], common_clips(runs)
    scores = [_score(r, common, first.classes) for r in runs]
    owners = first.clips.loc[common, "subject"].tolist()
    right = [np.array([s.right[clip] for clip in common], dtype=np.bool_) for s in scores]
    pairs = list(combinations(range(len(runs)), 2))
    tests = [mcnemar(right[a], right[b]) for a, b in pairs]
    corrected = holm([test.p for test in tests])
    differences = []
    for (a, b), test, p in zip(pairs, tests, corrected, strict=True):
        gain = right[a].astype(np.float64) - right[b]
        interval = subject_interval(gain, owners)
        differences.append(Difference(runs[a].name, runs[b].name, float(gain.mean()), interval, test, p))
    return Comparison(list(runs), scores, len(common), first.classes, same_folds(runs), differences)


def _score(stored: StoredRun, common: Sequence[str], classes: Sequence[str]) -> Scores:
    """Score a run on some of its clips, fold by fold, in the order of its own folds."""
    place = {clip: i for i, clip in enumerate(stored.clips.index)}
    order = [stored.classes.index(c) for c in classes]
    P = stored.posteriors[:, order]
    fold = stored.clips.loc[list(common), "fold"]
    parts = []
    for k in sorted(set(fold)):
        own = [clip for clip in common if fold[clip] == k]
        parts.append((own, P[[place[clip] for clip in own]]))
    return score(parts, _protocol(stored, classes))


def _protocol(stored: StoredRun, classes: Sequence[str]) -> Protocol:
    everybody = frozenset(stored.clips["subject"])
    folds = [
        Fold(k, frozenset(test), everybody - frozenset(test), ())
        for k, test in enumerate(stored.test_subjects)
    ]
    clips = stored.clips
    return Protocol("label", list(classes), clips["label"], clips["subject"], Folds(folds, stored.folds_name))


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN…", help="Folders in reports/, or experiment files: their latest run."
        ),
    ],
    form: Annotated[Form, typer.Option("--format", help="What tables are written as.")] = Form.TEXT,
    html: Annotated[Path | None, typer.Option(help="Write a page as well.")] = None,
) -> int:
    """Put runs side by side on the clips that all of them have, with paired tests."""
    if len(runs) < 2:
        raise RunError(f"only {runs[0]} is named; a comparison needs two runs or more")
    stored = read_runs(runs)
    if stored[0].targets.attributes:
        values = compare_values(stored)
        tables, figure, clips = make_value_tables(values), values_chart(values), values.clips
    else:
        found = compare_runs(stored)
        tables, figure, clips = make_tables(found), intervals_chart(found), found.clips
    say(write(tables, form).rstrip("\n"))
    if html is not None:
        publish(html, _page(stored, clips, tables, figure).encode())
        if form is Form.TEXT:
            say(f"wrote {relative_to_cwd(html)}")
    return EXIT_OK


def make_tables(found: Comparison) -> list[Table]:
    """Return what is known of the runs as tables."""
    tables = [runs_table(found.runs), _figures_table(found)]
    if found.same_folds:
        tables.append(_folds_table(found))
    tables += [_differences_table(found), _recalls_table(found)]
    return [*tables, *_sources_tables(found)]


def _figures_table(found: Comparison) -> Table:
    rows = [
        [
            r.name,
            _percent(s.accuracy_mean),
            _percent(s.accuracy),
            f"{_percent(s.interval[0])} – {_percent(s.interval[1])}",
            _percent(s.uar),
            _percent(s.macro_f1),
            f"{s.calibration.nll:.3f}",
            f"{s.calibration.ece:.3f}",
            ", ".join(marks(r)) or "–",
        ]
        for r, s in zip(found.runs, found.scores, strict=True)
    ]
    heads = [
        "run",
        "mean of folds",
        "all clips",
        "95 % over subjects",
        "UAR",
        "macro F1",
        "NLL",
        "ECE",
        "marks",
    ]
    left = [
        f"{r.name} has {len(r.clips) - found.clips} more" for r in found.runs if len(r.clips) > found.clips
    ]
    note = "Accuracy, UAR and macro F1 in %."
    if left:
        note += f" Clips that not all runs have are left out: {', '.join(left)}."
    return Table(f"Figures on the {found.clips} common clips", heads, rows, note)


def _folds_table(found: Comparison) -> Table:
    """Return the accuracy per fold; the folds stand in the order of the first run."""
    first = [frozenset(part) for part in found.runs[0].test_subjects]
    rows = []
    for r, s in zip(found.runs, found.scores, strict=True):
        own = [frozenset(r.test_subjects[k]) for k in sorted(set(r.clips.loc[list(s.right), "fold"]))]
        by_fold = dict(zip(own, s.accuracy_folds, strict=True))
        rows.append([r.name, *(_percent(by_fold[part]) if part in by_fold else "–" for part in first)])
    return Table("Accuracy per fold, %", ["run", *(f"fold {k}" for k in range(len(first)))], rows)


def _differences_table(found: Comparison) -> Table:
    several = len(found.differences) > 1
    heads = ["first against second", "points", "95 % over subjects", "only first right", "only second right"]
    rows = [
        [
            f"{d.first} against {d.second}",
            _points(d.points),
            f"{_points(d.interval[0])} – {_points(d.interval[1])}",
            str(d.test.first_only),
            str(d.test.second_only),
            _p(d.test.p),
            *([_p(d.holm)] if several else []),
        ]
        for d in found.differences
    ]
    note = (
        "Points of accuracy over all common clips; p by the exact McNemar test, which takes clips for "
        "independent."
    )
    if several:
        note += f" Holm's correction is for all {len(rows)} pairs."
    if not found.same_folds:
        note += " The runs were tested on different folds, so a difference also holds what the split makes."
    return Table("Differences", [*heads, "p", *(["p, Holm"] if several else [])], rows, note)


def _recalls_table(found: Comparison) -> Table:
    rows = [
        [r.name, *(_percent(s.recalls[c]) if c in s.recalls else "–" for c in found.classes)]
        for r, s in zip(found.runs, found.scores, strict=True)
    ]
    return Table("Recall per class, %", ["run", *found.classes], rows)


def _sources_tables(found: Comparison) -> list[Table]:
    """Return the figures of the sources that several runs have, if there are such."""
    rows = []
    for source in dict.fromkeys(name for r in found.runs for name in r.source_figures):
        having = [(r.name, r.source_figures[source]) for r in found.runs if source in r.source_figures]
        if len(having) > 1:
            rows += [[source, name, *_source_cells(figures)] for name, figures in having]
    if not rows:
        return []
    heads = ["source", "run", "clips", "mean of folds", "all clips", "95 % over subjects", "UAR"]
    note = "In %. As each run scored them, on all of its own clips, not only on the common ones."
    return [Table("Sources that several runs have", heads, rows, note)]


def _source_cells(figures: SourceFigures) -> list[str]:
    return [
        str(figures.clips),
        _percent(figures.accuracy_mean),
        _percent(figures.accuracy),
        f"{_percent(figures.interval[0])} – {_percent(figures.interval[1])}",
        _percent(figures.uar),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def _p(value: float) -> str:
    return f"{value:.2g}"


def _page(runs: Sequence[StoredRun], clips: int, tables: Sequence[Table], figure: Markup) -> str:
    return page.render(
        "comparison.html", runs=runs, clips=clips, version=__version__, tables=tables, figure=figure
    )


def intervals_chart(found: Comparison) -> Markup:
    """Return accuracies and differences with their intervals over subjects, as SVG."""
    with page.style():
        height = 1.1 + 0.32 * max(len(found.runs), len(found.differences))
        figure = Figure(figsize=(9.0, height), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_intervals(
            left, [r.name for r in found.runs], [(s.accuracy, s.interval) for s in found.scores], 100
        )
        left.set_xlabel("accuracy, %, all common clips")
        names = [f"{d.first}\nagainst {d.second}" for d in found.differences]
        draw_intervals(right, names, [(d.points, d.interval) for d in found.differences], 100)
        right.axvline(0, color=SOFT, linewidth=1, linestyle="--")
        right.set_xlabel("difference, points")
        return page.svg(figure, "Accuracy of every run and difference of every pair, with 95 % intervals")


if __name__ == "__main__":
    run(app)
