"""The figures of a report on attributes, as SVG in the colours of the page."""

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report import page
from pipeline.report.page import BAR, CHANCE, FUSED, INK, SOFT, bare, plain_names
from pipeline.report.value_contents import systems
from pipeline.value_evaluation import ValueRun
from pipeline.value_scores import plain

_MOST = 2000  # clips that a scatter shows; more would make the page heavy and no clearer


def concordances(run: ValueRun) -> Markup:
    """Return the CCC of each source and of the fusion by attribute, with intervals and folds."""
    found = systems(run)
    count = len(run.attributes)
    with page.style():
        figure = Figure(figsize=(2.0 + 2.7 * count, 0.9 + 0.36 * len(found)), layout="constrained")
        rows = np.arange(len(found))[::-1]
        for axes, name in zip(
            figure.subplots(1, count, sharey=True, squeeze=False)[0], run.attributes, strict=True
        ):
            for row, (system, scores) in zip(rows, found.items(), strict=True):
                estimate, folds = scores.ccc[name], scores.ccc_folds[name]
                colour = FUSED if system == run.fused_name else BAR
                axes.plot(estimate.interval, [row, row], "-", color=colour, linewidth=3)
                axes.plot([estimate.value], [row], "o", color=INK, markersize=4.5)
                axes.plot(folds, np.full(len(folds), row - 0.22), ".", color=SOFT, markersize=4)
                axes.annotate(
                    plain(estimate.value), (1.0, row), xycoords=("axes fraction", "data"),
                    xytext=(4, 0), textcoords="offset points", va="center", color=INK,
                )  # fmt: skip
            axes.axvline(0, color=CHANCE, linewidth=1, linestyle="--")
            axes.set_xlim(right=1)
            _title(axes, name)
            axes.set_xlabel("CCC")
            axes.set_yticks(rows, plain_names(list(found)))
            axes.set_ylim(-0.6, len(found) - 0.4)
            bare(axes)
        return page.svg(figure, "CCC of each source and of the fusion, by attribute, with intervals")


def scatter(run: ValueRun) -> Markup:
    """Return what the fusion says of every clip against what is true, by attribute."""
    said = run.fusion.prediction
    if len(said) > _MOST:
        said = said.sample(_MOST, random_state=0)
    truth = run.protocol.values.loc[said.index]
    count = len(run.attributes)
    with page.style():
        figure = Figure(figsize=(3.1 * count, 3.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, count, squeeze=False)[0], run.attributes, strict=True):
            both = np.concatenate([said[name], truth[name]])
            margin = 0.04 * float(np.ptp(both)) or 1.0
            edges = [float(both.min()) - margin, float(both.max()) + margin]
            axes.plot(edges, edges, ":", color=SOFT, linewidth=1)
            axes.plot(truth[name], said[name], "o", color=FUSED, alpha=0.35, markersize=3, markeredgewidth=0)
            axes.set(xlim=edges, ylim=edges, xlabel="true", ylabel="fused", aspect="equal")
            _title(axes, name)
            bare(axes)
        return page.svg(figure, "What the fusion says of each clip against what is true, by attribute")


def subjects(run: ValueRun) -> Markup:
    """Return the mean CCC on the clips of every subject: fusion, and best source."""
    best = max(run.sources, key=lambda name: run.sources[name].mean_ccc.value)
    own = run.fusion.subjects
    names = sorted(own, key=lambda s: own[s])
    with page.style():
        figure = Figure(figsize=(8.6, 2.4), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(names))
        axes.bar(places, [own[s] for s in names], color=FUSED, width=0.7)
        dots = [run.sources[best].subjects.get(s, np.nan) for s in names]
        axes.plot(places, dots, "o", color=INK, markersize=4)
        axes.axhline(0, color=CHANCE, linewidth=1, linestyle="--")
        axes.set_ylim(top=1)
        axes.set_ylabel("mean CCC")
        axes.set_xlabel(f"test subject, worst first (bar: fused, dot: {plain_names([best])[0]})")
        few = len(names) <= 40
        axes.set_xticks(places if few else [], plain_names(names) if few else [])
        bare(axes)
        return page.svg(figure, "Mean CCC on the clips of every test subject")


def _title(axes: Axes, name: str) -> None:
    axes.set_title(plain_names([name])[0], color=INK, fontsize=9)
