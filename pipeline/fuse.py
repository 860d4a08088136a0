"""`python -m pipeline.fuse [--report]`: combine the heads, score everything, write a run."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from fusion import Missing
from pipeline import report
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    ExperimentOption,
    SetOption,
    WorkersOption,
    complain,
    relative_to_cwd,
    run,
    say,
    stage,
)
from pipeline.degraded import read_degraded
from pipeline.duplicates import Duplicates, find_duplicates
from pipeline.evaluation import Run, evaluate
from pipeline.experiment import load
from pipeline.files import WriteError, publish, publish_json
from pipeline.history import Stopwatch
from pipeline.options import ConfigError
from pipeline.posteriors import NO_INNER, rows_of, to_parquet
from pipeline.progress import Meter
from pipeline.report.tables import Form
from pipeline.scoring import Scores
from pipeline.subsets import Subset, measure, seconds_for, subsets_of
from pipeline.value_evaluation import ValueRun, evaluate_values
from pipeline.value_scores import ValueScores, plain
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False)
_PATIENCE = 120.0  # seconds that subsets may take before only some are looked at


class ReportFormat(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MD = "md"
    TEX = "tex"


@app.command()
def fuse(
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    with_report: Annotated[bool, typer.Option("--report", help="Write a report as well.")] = False,
    form: Annotated[
        list[ReportFormat] | None,
        typer.Option("--format", help="--report: html, or its tables as md or tex; repeatable."),
    ] = None,
    missing: Annotated[
        Missing | None, typer.Option(help="What happens to clips that some source lacks.")
    ] = None,
    look_for_duplicates: Annotated[
        bool, typer.Option("--duplicates/--no-duplicates", help="--report: listen for equal recordings.")
    ] = True,
    workers: WorkersOption = None,
    overrides: SetOption = None,
) -> int:
    """Fuse the heads' posteriors, score sources and fusion, and write reports/<run>."""
    watch = Stopwatch.start()
    if form and not with_report:
        raise ConfigError("--format says what a report is written as; give --report with it")
    chosen = [f"fusion.missing={missing}"] if missing else []
    workspace = load(experiment, [*(overrides or ()), *chosen])
    result = evaluate_values(workspace) if workspace.experiment.attributes else evaluate(workspace)
    folder = _new_run(workspace)
    publish(folder / "fused.parquet", _fused_table(result))
    publish_json(folder / "metrics.json", result.metrics())
    written = [folder / "metrics.json", folder / "fused.parquet"]
    _point_latest(folder)
    _say_result(result)
    if with_report:
        duplicates = _duplicates(workspace, workers) if look_for_duplicates else None
        findings: report.Findings | report.ValueFindings
        if isinstance(result, ValueRun):
            findings = report.ValueFindings(result, duplicates)
        else:
            sources = [about.source for about in result.abouts]
            degraded = [row for name in sources for row in read_degraded(workspace, name, result.protocol)]
            findings = report.Findings(result, _subsets(result), duplicates, degraded)
        reports = _write_reports(workspace, findings, folder, form or [ReportFormat.HTML], watch)
        written = [*reports, *written]
    say(f"wrote {', '.join(relative_to_cwd(p) for p in written)}")
    if with_report:
        place = relative_to_cwd(folder.parent / "latest" / written[0].name)
        say(f"next: open {place} in {'a browser' if written[0].suffix == '.html' else 'an editor'}")
    else:
        say(f"next: {stage('fuse --report', experiment)}")
    return EXIT_OK


def _subsets(result: Run) -> list[Subset]:
    names = list(result.sources)
    every, few = subsets_of(names), subsets_of(names, few=True)
    chosen = every if seconds_for(result, len(every)) < _PATIENCE else few
    found = []
    with Meter("  fusing subsets of the sources", len(chosen), "subsets") as meter:
        for subset in measure(result, chosen):
            found.append(subset)
            meter.add(1)
    return found


def _duplicates(workspace: Workspace, workers: int | None) -> Duplicates | None:
    try:
        return find_duplicates(workspace, workers, tell=True)
    except WriteError as error:
        complain(f"{error}; the report does not say which clips are one recording")
        return None


def _write_reports(
    workspace: Workspace,
    findings: report.Findings | report.ValueFindings,
    folder: Path,
    forms: Sequence[ReportFormat],
    watch: Stopwatch,
) -> list[Path]:
    paths = []
    for form in dict.fromkeys(forms):
        paths.append(folder / f"report.{form.value}")
        if form is ReportFormat.HTML:
            text = findings.render(workspace, folder, watch.entry(None))
        else:
            text = findings.render_tables(workspace, Form(form.value))
        publish(paths[-1], text.encode())
    return paths


def _new_run(workspace: Workspace) -> Path:
    """Make the run's folder, named after the experiment and the time."""
    stem = f"{workspace.file.stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    reports = workspace.folder / "reports"
    for attempt in range(1000):
        folder = reports / (stem if attempt == 0 else f"{stem}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise ConfigError(f"{reports}: cannot make a new folder for this run")


def _point_latest(folder: Path) -> None:
    """Let `reports/latest` point to a run, at once for any reader."""
    temporary = folder.parent / f".latest-{folder.name}-{os.getpid()}"
    temporary.symlink_to(folder.name, target_is_directory=True)
    temporary.replace(folder.parent / "latest")


def _fused_table(result: Run | ValueRun) -> bytes:
    """Return what the fusion says, with the truth and the subject of every clip."""
    protocol = result.protocol
    targets = protocol.targets
    parts = [rows_of(f.clip_ids, f.fused, targets, k, NO_INNER, "test") for k, f in enumerate(result.folds)]
    rows = pd.concat(parts, ignore_index=True)
    clips = rows.pop("clip_id").tolist()
    truth = protocol.values if targets.attributes else protocol.labels.to_frame("label")
    told = truth.loc[clips].reset_index(drop=True)
    told.columns = pd.Index(targets.truth_columns)
    told.insert(0, "clip_id", clips)
    told["subject"] = protocol.subjects.loc[clips].to_numpy()
    rows = pd.concat([told, rows], axis=1)
    about = {"method": result.spec.method, "flags": result.flags}
    return to_parquet(rows, {**asdict(targets), **about})


def _say_result(result: Run | ValueRun) -> None:
    for name, scores in result.sources.items():
        say(f"  {name}: {_said(scores)}")
    stacked = f", {result.spec.stacking}" if result.trained else ""
    say(f"  fused by {result.spec.method}{stacked}: {_said(result.fusion)}")
    for grade, scores in result.beside.items():
        say(f"  the same, {grade}: {_in_short(scores)}")
    for flag in result.flags:
        say(f"  {flag}")


def _in_short(scores: Scores | ValueScores) -> str:
    if isinstance(scores, ValueScores):
        return f"mean CCC {plain(scores.mean_ccc.value)}"
    return f"accuracy {scores.accuracy_mean:.1%}"


def _said(scores: Scores | ValueScores) -> str:
    if isinstance(scores, ValueScores):
        return scores.said()
    low, high = scores.interval
    return f"accuracy {scores.accuracy_mean:.1%} [{100 * low:.1f}, {100 * high:.1f}], UAR {scores.uar:.1%}"


if __name__ == "__main__":
    run(app)
