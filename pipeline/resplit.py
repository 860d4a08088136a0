"""`python -m pipeline.resplit`: how much a figure depends on which subjects meet in a fold."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import percentileofscore

from affectstack import __version__
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    EXIT_SOME_FAILED,
    ExperimentOption,
    SetOption,
    WorkersOption,
    relative_to_cwd,
    run,
    say,
    workers_or_cores,
)
from pipeline.experiment import load
from pipeline.files import publish
from pipeline.options import ConfigError
from pipeline.processes import expect_pool
from pipeline.progress import Meter
from pipeline.redrawing import Redrawing, Row
from pipeline.report import page
from pipeline.report.page import BAR, CHANCE, FUSED, INK
from pipeline.report.tables import Form, Table, write
from pipeline.splits import Split

app = typer.Typer(add_completion=False)
_SHOWN = 5
_COLUMNS = ["mean", "sd", "2.5 %", "median", "97.5 %", "least", "most"]


@app.command()
def resplit(
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    times: Annotated[int, typer.Option(min=2, help="How many times the folds are drawn.")] = 100,
    heads: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Which heads; default: those that are fused.")
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split", help="A split to place among the draws; repeatable. Default: the published that fit."
        ),
    ] = None,
    k: Annotated[int | None, typer.Option(min=2, help="Folds of a draw; default: as many as now.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first draw; the next has the next.")] = 0,
    fusion: Annotated[
        bool,
        typer.Option("--fusion", help="Train the experiment's own fusion too, on inner folds."),
    ] = False,
    form: Annotated[Form, typer.Option("--format", help="What tables are written as.")] = Form.TEXT,
    html: Annotated[Path | None, typer.Option(help="Write a page as well.")] = None,
    workers: WorkersOption = None,
    overrides: SetOption = None,
) -> int:
    """Draw the subject folds again and again, train the heads on each, and show how the accuracy spreads.

    Features are read from the store. Finished draws are kept, so that more of them go on from there.
    """
    workspace = load(experiment, overrides or ())
    workspace.refuse_attributes("`resplit`")
    workers = workers_or_cores(workers)
    if workers > 1:
        expect_pool()
    chosen = [name.strip() for name in heads.split(",")] if heads is not None else None
    redrawing = Redrawing(workspace, times, seed, k, chosen, splits, fusion)
    failed = _work(redrawing, workers, tell=form is Form.TEXT)
    if any(len(rows) < 2 for rows in redrawing.draws().values()):
        raise ConfigError("fewer than 2 draws could be trained on, so nothing is known of their spread")
    tables = make_tables(redrawing)
    say(write(tables, form).rstrip("\n"))
    if html is not None:
        publish(html, _page(redrawing, workspace.file.name, tables).encode())
    if form is Form.TEXT:
        say(f"wrote {', '.join(relative_to_cwd(p) for p in (redrawing.path, html) if p is not None)}")
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _work(redrawing: Redrawing, workers: int, *, tell: bool) -> int:
    """Make what is not there; return how many splits came to nothing."""
    todo = redrawing.todo()
    count = len(redrawing.splits)
    if tell:
        say(
            f"{len(redrawing.heads)} heads on {count} splits, {redrawing.times} of them drawn with "
            f"{redrawing.k} folds; {count - len(todo)} of {count} are there"
        )
    if redrawing.shortage:
        typer.echo(f"  {redrawing.shortage}", err=True)
    problems = []
    with Meter("  training", len(todo), "splits") if tell else nullcontext() as meter:
        for split, problem in redrawing.run(todo, workers):
            if problem:
                problems.append(f"{split.name}: {problem}")
            if meter is not None:
                meter.failed = len(problems)
                meter.add(1)
    for problem in problems[:_SHOWN]:
        typer.echo(f"  failed: {problem}", err=True)
    if len(problems) > _SHOWN:
        typer.echo(f"  … and {len(problems) - _SHOWN} more", err=True)
    return len(problems)


@dataclass(frozen=True)
class Place:
    """Where a split falls among the draws.

    Attributes:
        split: The split.
        system: The source, or the fusion.
        accuracy: Mean of its folds.
        percentile: How many percent of the draws are below it; of equals, half.
    """

    split: Split
    system: str
    accuracy: float
    percentile: float

    @property
    def single(self) -> bool:
        """Whether the split has one fold, which is compared with single folds of the draws."""
        return len(self.split.folds) == 1


def means(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return the mean of the folds of every draw."""
    return np.array([row.accuracy_mean for row in rows])


def single_folds(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return the accuracy of every fold of every draw."""
    return np.array([accuracy for row in rows for accuracy in row.accuracy_folds])


def places(redrawing: Redrawing) -> list[Place]:
    """Return where the experiment's own folds and the published splits fall.

    A split of one fold is compared with single folds: the mean of several spreads less.
    """
    draws = redrawing.draws()
    found = []
    for split, own in redrawing.placed():
        for system, row in own.items():
            values = (single_folds if len(split.folds) == 1 else means)(draws[system])
            below = float(percentileofscore(values, row.accuracy_mean, kind="mean"))
            found.append(Place(split, system, row.accuracy_mean, below))
    return found


def make_tables(redrawing: Redrawing) -> list[Table]:
    """Return the spread of every system, and where splits fall in it."""
    draws = redrawing.draws()
    count = len(next(iter(draws.values())))  # of every system
    spread = Table(
        f"Accuracy of {count} draws of {redrawing.k} folds by subject, mean of folds, %",
        ["system", *_COLUMNS, "best in"],
        [
            [_marked(redrawing, system), *_spread(means(rows)), f"{best} of {count}"]
            for (system, rows), best in zip(draws.items(), _best(draws), strict=True)
        ],
        "Clips, features and settings are the same in every draw; which subjects meet in a fold differs."
        + (f" {_sentence(redrawing.shortage)}" if redrawing.shortage else "")
        + _meaning(redrawing),
    )
    single = Table(
        f"Accuracy of their {len(single_folds(next(iter(draws.values()))))} single folds, %",
        ["system", *_COLUMNS],
        [[_marked(redrawing, system), *_spread(single_folds(rows))] for system, rows in draws.items()],
    )
    fall = Table(
        "Where splits fall",
        ["split", "system", "folds", "accuracy, %", "percentile"],
        [
            [
                _called(redrawing, place.split),
                _marked(redrawing, place.system),
                str(len(place.split.folds)),
                f"{100 * place.accuracy:.1f}",
                f"{place.percentile:.0f}",
            ]
            for place in places(redrawing)
        ],
        "Percentile: how many percent of the draws are below; one fold is compared with single folds.",
    )
    return [spread, single, fall]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _spread(values: NDArray[np.float64]) -> list[str]:
    middle = np.percentile(values, [2.5, 50, 97.5])
    figures = [values.mean(), values.std(ddof=1), *middle, values.min(), values.max()]
    return [f"{100 * figure:.1f}" for figure in figures]


def _best(draws: Mapping[str, Sequence[Row]]) -> list[int]:
    """Return in how many draws each system has the highest accuracy."""
    best = np.argmax([means(rows) for rows in draws.values()], axis=0)
    return [int(count) for count in np.bincount(best, minlength=len(draws))]


def _marked(redrawing: Redrawing, system: str) -> str:
    marks = redrawing.marks.get(system)
    return f"{system} ({', '.join(marks)})" if marks else system


def _meaning(redrawing: Redrawing) -> str:
    """Return what the marks of the heads mean, and for whom."""
    meanings = {
        "transductive": "features were z-scored per speaker with all clips of that speaker, test clips too",
        "untrained": "features come from random weights and mean little",
    }
    there = {mark for marks in redrawing.marks.values() for mark in marks}
    said = [f" {mark.capitalize()}: {text}." for mark, text in meanings.items() if mark in there]
    return "".join(said) + (" The fusions of marked heads are marked likewise." if said else "")


def _called(redrawing: Redrawing, split: Split) -> str:
    return f"{split.name} (this experiment)" if split.name == redrawing.own else split.name


def _page(redrawing: Redrawing, experiment: str, tables: Sequence[Table]) -> str:
    return page.render(
        "resplit.html",
        experiment=experiment,
        draws=redrawing.times,
        k=redrawing.k,
        version=__version__,
        tables=tables,
        figure=strip_chart(redrawing),
    )


def strip_chart(redrawing: Redrawing) -> Markup:
    """Return every draw as a dot, with the splits as marks, as SVG: means of folds, and single folds."""
    draws = redrawing.draws()
    with page.style():
        figure = Figure(figsize=(9.0, 1.3 + 0.5 * len(draws)), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, of, single in zip(panels, (means, single_folds), (False, True), strict=True):
            _draw(axes, [of(rows) for rows in draws.values()])
            _mark(axes, list(draws), [place for place in places(redrawing) if place.single == single])
            axes.set_xlabel("accuracy, %, " + ("single folds" if single else f"mean of {redrawing.k} folds"))
        panels[0].set_yticks(range(len(draws)), list(draws))
        panels[0].set_ylim(len(draws) - 0.4, -0.6)
        return page.svg(figure, "Accuracy of every draw, and of named splits")


def _draw(axes: Axes, strips: Sequence[NDArray[np.float64]]) -> None:
    """Draw a dot per value, and a line over the middle 95 % of them, a row per system."""
    rng = np.random.default_rng(0)
    for row, values in enumerate(strips):
        heights = row + rng.uniform(-0.22, 0.22, len(values))
        axes.plot(100 * values, heights, "o", color=BAR, markersize=3, alpha=0.6, markeredgewidth=0)
        low, middle, high = 100 * np.percentile(values, [2.5, 50, 97.5])
        axes.plot([low, high], [row, row], color=INK, linewidth=1.5)
        axes.plot([middle], [row], "|", color=INK, markersize=12)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: Axes, systems: Sequence[str], marks: Sequence[Place]) -> None:
    """Draw where splits fall."""
    for i, name in enumerate(dict.fromkeys(place.split.name for place in marks)):
        own = [place for place in marks if place.split.name == name]
        rows = [systems.index(place.system) for place in own]
        form, colour = "Ds^v"[i % 4], (CHANCE, FUSED)[i % 2]
        axes.plot([100 * place.accuracy for place in own], rows, form, color=colour, markersize=6, label=name)
    if marks:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


if __name__ == "__main__":
    run(app)
