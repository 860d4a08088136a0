"""The figures of a report, as SVG in the colours of the page."""

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.evaluation import Run
from pipeline.report import page
from pipeline.report.contents import systems
from pipeline.report.page import BAR, CHANCE, FUSED, INK, SERIES, SOFT, bare, plain_names
from pipeline.scoring import chance
from pipeline.stacking import FusedFold
from pipeline.statistics import BINS

_LEAST = 5  # clips of a bin that a calibration curve shows


def accuracies(run: Run) -> Markup:
    """Return sources against the fusion: accuracy, its interval over subjects, and every fold."""
    found = systems(run)
    with page.style():
        figure = Figure(figsize=(5.2, 0.8 + 0.42 * len(found)), layout="constrained")
        axes = figure.subplots()
        rows = np.arange(len(found))[::-1]
        colours = [BAR] * len(run.sources) + [FUSED]
        axes.barh(rows, [100 * s.accuracy_mean for s in found.values()], height=0.62, color=colours)
        for row, s in zip(rows, found.values(), strict=True):
            low, high = s.interval
            axes.plot([100 * low, 100 * high], [row, row], "-", color=INK, linewidth=1.2)
            axes.plot([100 * low, 100 * high], [row, row], "|", color=INK, markersize=7)
            folds = 100 * np.array(s.accuracy_folds)
            axes.plot(folds, np.full(len(folds), row - 0.2), ".", color=SOFT, markersize=4)
            axes.annotate(
                f"{100 * s.accuracy_mean:.1f}", (1.0, row), xycoords=("axes fraction", "data"),
                xytext=(4, 0), textcoords="offset points", va="center", color=INK,
            )  # fmt: skip
        level = 100 * chance(run.fusion.confusion)
        axes.axvline(level, color=CHANCE, linewidth=1, linestyle="--")
        axes.annotate("chance", (level, 1.0), xycoords=("data", "axes fraction"), color=CHANCE,
                      xytext=(0, 2), textcoords="offset points", ha="center", va="bottom")  # fmt: skip
        axes.set_yticks(rows, list(found))
        axes.set_xlim(0, 100)
        axes.set_xlabel("accuracy, % (line: 95 % over subjects, dots: folds)")
        bare(axes)
        return page.svg(figure, "Accuracy of each source and of the fusion, with intervals")


def subjects(run: Run) -> Markup:
    """Return the accuracy of every subject: fusion, and best source."""
    best = max(run.sources, key=lambda name: run.sources[name].accuracy_mean)
    names = sorted(run.fusion.subjects, key=lambda s: run.fusion.subjects[s])
    with page.style():
        figure = Figure(figsize=(8.6, 2.4), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(names))
        axes.bar(places, [100 * run.fusion.subjects[s] for s in names], color=FUSED, width=0.7)
        own = [100 * run.sources[best].subjects.get(s, np.nan) for s in names]
        axes.plot(places, own, "o", color=INK, markersize=4)
        axes.axhline(100 * chance(run.fusion.confusion), color=CHANCE, linewidth=1, linestyle="--")
        axes.set_ylim(0, 100)
        axes.set_ylabel("accuracy, %")
        axes.set_xlabel(f"test subject, worst first (bar: fused, dot: {best})")
        few = len(names) <= 40
        axes.set_xticks(places if few else [], plain_names(names) if few else [])
        bare(axes)
        return page.svg(figure, "Accuracy of every test subject")


def calibration(run: Run) -> Markup:
    """Return how often each system is right where it says that it is sure."""
    truth = {str(clip): str(label) for clip, label in run.protocol.labels.items()}
    with page.style():
        figure = Figure(figsize=(4.4, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], ":", color=SOFT, linewidth=1)
        for s, name in enumerate(run.sources):
            style = ("-", "--", ":")[s // len(SERIES) % 3]
            sure, right = _curve(_source(run.folds, s), run.classes, truth)
            axes.plot(
                100 * sure, 100 * right, "o", linestyle=style, color=SERIES[s % len(SERIES)], linewidth=1.3,
                markersize=3, label=name,
            )  # fmt: skip
        sure, right = _curve([(f.clip_ids, f.fused) for f in run.folds], run.classes, truth)
        axes.plot(
            100 * sure, 100 * right, "o-", color=FUSED, linewidth=2.6, markersize=3, label=run.fused_name
        )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel(f"posterior of the decision, % ({BINS} bins, those of {_LEAST} clips and more)")
        axes.set_ylabel("how often it is right, %")
        axes.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=INK)
        bare(axes)
        return page.svg(figure, "Calibration curves: how often a decision is right, by its posterior")


def _source(folds: list[FusedFold], source: int) -> list[tuple[list[str], NDArray[np.float64]]]:
    return [(f.clip_ids, f.sources[:, source]) for f in folds]


def _curve(
    parts: list[tuple[list[str], NDArray[np.float64]]], classes: list[str], truth: dict[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean posterior of the decision and share of right decisions, by bins of the posterior."""
    P = np.concatenate([p for _, p in parts])
    y = np.array([classes.index(truth[c]) for clips, _ in parts for c in clips])
    there = ~np.isnan(P[:, 0])
    P, y = P[there], y[there]
    sure, right = P.max(axis=1), P.argmax(axis=1) == y
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    shown = counts >= _LEAST
    means = [
        np.bincount(bins, weights=values, minlength=BINS)[shown] / counts[shown] for values in (sure, right)
    ]
    return means[0], means[1]
