"""The report: one HTML file that needs nothing besides itself."""

from datetime import UTC, datetime

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from affectstack import __version__
from pipeline.evaluation import Run
from pipeline.report import page
from pipeline.report.page import BAR, CHANCE, FUSED, INK
from pipeline.scoring import chance

_LEVELS = {
    "in-sample": "red",
    "cross-fitted": "amber",
    "transductive": "amber",
    "untrained": "amber",
    "selected on test": "red",
    "claimed": "amber",
}


def render(result: Run, experiment: str) -> str:
    """Return the report as HTML.

    Args:
        result: What was fused and scored.
        experiment: The name of the experiment file.
    """
    return page.render(
        "report.html",
        run=result,
        experiment=experiment,
        version=__version__,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        clips=sum(len(f.clip_ids) for f in result.folds),
        chance=chance(result.fusion.confusion),
        grade=_grade(result),
        flags=[(_LEVELS.get(f.partition(":")[0], "info"), *f.partition(": ")[::2]) for f in result.flags],
        systems={**result.sources, result.fused_name: result.fusion},
        best=max(result.sources, key=lambda name: result.sources[name].accuracy_mean),
        bars=bar_chart(result),
        confusion=confusion_chart(result.fusion.confusion, result.classes),
        spread=subject_chart(result),
    )


def bar_chart(result: Run) -> Markup:
    """Return sources against the fusion, with every fold as a dot, as SVG."""
    names = [*result.sources, result.fused_name]
    scores = [*result.sources.values(), result.fusion]
    with page.style():
        figure = Figure(figsize=(5.0, 0.7 + 0.4 * len(names)), layout="constrained")
        axes = figure.subplots()
        rows = np.arange(len(names))[::-1]
        colours = [BAR] * len(result.sources) + [FUSED]
        axes.barh(rows, [100 * s.accuracy_mean for s in scores], height=0.62, color=colours)
        for row, s in zip(rows, scores, strict=True):
            folds = 100 * np.array(s.accuracy_folds)
            axes.plot(folds, np.full(len(folds), row), ".", color=INK, markersize=4, alpha=0.7)
            axes.annotate(
                f"{100 * s.accuracy_mean:.1f}", (1.0, row), xycoords=("axes fraction", "data"),
                xytext=(4, 0), textcoords="offset points", va="center", color=INK,
            )  # fmt: skip
        level = 100 * chance(result.fusion.confusion)
        axes.axvline(level, color=CHANCE, linewidth=1, linestyle="--")
        axes.annotate("chance", (level, 1.0), xycoords=("data", "axes fraction"), color=CHANCE,
                      xytext=(0, 2), textcoords="offset points", ha="center", va="bottom")  # fmt: skip
        axes.set_yticks(rows, names)
        axes.set_xlim(0, 100)
        axes.set_xlabel("accuracy, % (bar: mean of folds, dots: folds)")
        axes.spines[["top", "right"]].set_visible(False)
        return page.svg(figure, "Accuracy of each source and of the fusion")


def subject_chart(result: Run) -> Markup:
    """Return the accuracy of every subject, fusion and best source, as SVG."""
    best = max(result.sources, key=lambda name: result.sources[name].accuracy_mean)
    subjects = sorted(result.fusion.subjects, key=lambda s: result.fusion.subjects[s])
    with page.style():
        figure = Figure(figsize=(8.6, 2.4), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(subjects))
        axes.bar(places, [100 * result.fusion.subjects[s] for s in subjects], color=FUSED, width=0.7)
        own = [100 * result.sources[best].subjects.get(s, np.nan) for s in subjects]
        axes.plot(places, own, "o", color=INK, markersize=4, label=best)
        axes.axhline(100 * chance(result.fusion.confusion), color=CHANCE, linewidth=1, linestyle="--")
        axes.set_ylim(0, 100)
        axes.set_ylabel("accuracy, %")
        axes.set_xlabel("test subject, worst first (bar: fused, dot: best source)")
        few = len(subjects) <= 40
        axes.set_xticks(places if few else [], subjects if few else [])
        axes.spines[["top", "right"]].set_visible(False)
        return page.svg(figure, "Accuracy of every test subject")


def confusion_chart(confusion: NDArray[np.int64], classes: list[str]) -> Markup:
    """Return the confusion matrix as SVG: counts, shaded by the share of the true class."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    size = 1.4 + 0.52 * len(classes)
    with page.style():
        figure = Figure(figsize=(size + 0.6, size), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(*confusion.shape):
            if confusion[i, j]:
                colour = "white" if shares[i, j] > 0.55 else INK
                axes.text(j, i, str(confusion[i, j]), ha="center", va="center", color=colour)
        ticks = np.arange(len(classes))
        axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, classes)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        return page.svg(figure, "Confusion matrix of the fusion")


def _grade(result: Run) -> tuple[str, str, str]:
    """Return the leak rule's colour, name and meaning."""
    if not result.trained:
        return "green", "no training", f"{result.spec.method} learns nothing, so it cannot leak"
    return {
        "nested": (
            "green",
            "nested",
            "the fusion learned from inner folds: its models had seen neither the row's subject nor any test "
            "subject",
        ),
        "cross-fitted": (
            "amber",
            "cross-fitted",
            "the fusion learned from the other folds' test rows, whose models had seen this fold's subjects",
        ),
        "in-sample": ("red", "in-sample", "the fusion learned from the models' own training rows"),
    }[result.spec.stacking]
