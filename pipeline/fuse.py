"""`python -m pipeline.fuse [--report]`: combine the heads, score everything, write a run."""

import os
from datetime import UTC, datetime
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
    relative_to_cwd,
    run,
    say,
    stage,
)
from pipeline.evaluation import Run, evaluate
from pipeline.experiment import load
from pipeline.files import publish, publish_json
from pipeline.options import ConfigError
from pipeline.posteriors import NO_INNER, rows_of, to_parquet
from pipeline.scoring import Scores
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False)


@app.command()
def fuse(
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    with_report: Annotated[bool, typer.Option("--report", help="Write report.html as well.")] = False,
    missing: Annotated[
        Missing | None, typer.Option(help="What happens to clips that some source lacks.")
    ] = None,
    overrides: SetOption = None,
) -> int:
    """Fuse the heads' posteriors, score sources and fusion, and write reports/<run>."""
    chosen = [f"fusion.missing={missing}"] if missing else []
    workspace = load(experiment, [*(overrides or ()), *chosen])
    result = evaluate(workspace)
    folder = _new_run(workspace)
    labels = workspace.labelled().labels(workspace.experiment.label, result.classes)
    publish(folder / "fused.parquet", _fused_table(result, labels))
    publish_json(folder / "metrics.json", result.metrics())
    written = [folder / "metrics.json", folder / "fused.parquet"]
    if with_report:
        publish(folder / "report.html", report.render(result, workspace.file.name).encode())
        written.insert(0, folder / "report.html")
    _point_latest(folder)
    _say_result(result)
    say(f"wrote {', '.join(relative_to_cwd(p) for p in written)}")
    if with_report:
        say(f"next: open {relative_to_cwd(folder.parent / 'latest' / 'report.html')} in a browser")
    else:
        say(f"next: {stage('fuse --report', experiment)}")
    return EXIT_OK


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


def _fused_table(result: Run, labels: pd.Series) -> bytes:
    parts = [
        rows_of(f.clip_ids, f.fused, result.classes, k, NO_INNER, "test") for k, f in enumerate(result.folds)
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows.insert(1, "label", labels.loc[rows["clip_id"]].to_numpy())
    return to_parquet(rows, {"classes": result.classes, "method": result.spec.method, "flags": result.flags})


def _say_result(result: Run) -> None:
    for name, scores in result.sources.items():
        say(f"  {name}: accuracy {_said(scores)}")
    stacked = f", {result.spec.stacking}" if result.trained else ""
    say(f"  fused by {result.spec.method}{stacked}: accuracy {_said(result.fusion)}")
    for grade, scores in result.beside.items():
        say(f"  the same, {grade}: accuracy {scores.accuracy_mean:.1%}")
    for flag in result.flags:
        say(f"  {flag}")


def _said(scores: Scores) -> str:
    low, high = scores.interval
    return f"{scores.accuracy_mean:.1%} [{100 * low:.1f}, {100 * high:.1f}], UAR {scores.uar:.1%}"


if __name__ == "__main__":
    run(app)
