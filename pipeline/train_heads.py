"""`python -m pipeline.train_heads`: train every head on every fold, write posteriors."""

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from typing import Annotated

import typer

from manifests import Folds, Manifest
from pipeline import posteriors
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    ExperimentOption,
    SetOption,
    WorkersOption,
    relative_to_cwd,
    run,
    say,
    stage,
    workers_or_cores,
)
from pipeline.experiment import load
from pipeline.head_data import HeadData, data_key, load_data
from pipeline.options import ConfigError
from pipeline.processes import expect_pool, worker_pool
from pipeline.progress import Meter
from pipeline.protocol import Protocol
from pipeline.scoring import score
from pipeline.sweep import Sweep, write_table
from pipeline.targets import Targets
from pipeline.training import (
    FoldJob,
    assemble,
    fold_jobs,
    is_done,
    refuse_empty_folds,
    refuse_leaks,
    train_folds,
)
from pipeline.value_scores import score_values
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False)
Data = dict[tuple[str, int | None], HeadData]  # by `data_key`


@app.command()
def train_heads(
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    workers: WorkersOption = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Try the grid under `sweep:` on the outer folds instead.")
    ] = False,
    overrides: SetOption = None,
) -> int:
    """Train the experiment's heads per outer and inner fold; finished folds are not trained again."""
    workspace = load(experiment, overrides or ())
    workers = workers_or_cores(workers)
    if workers > 1:
        expect_pool()
    if sweep:
        return _sweep(workspace, workers)
    if not workspace.experiment.heads:
        raise ConfigError(f"{workspace.file.name} has no heads; add some under `heads:`")
    manifest = workspace.labelled()
    folds = workspace.folds(manifest)
    protocol = Protocol.of_clips(workspace, manifest, folds)
    heads = list(workspace.experiment.heads)
    data: Data = {}
    jobs: dict[str, list[FoldJob]] = {h: [] for h in heads}
    for head, key in [(h, k) for h in heads for k in _keys(workspace, h, folds)]:
        data[key] = load_data(workspace, manifest, *key)
        # An encoder that was tuned on a fold has seen all its inner folds: their rows would be no test.
        own = list(folds) if key[1] is None else [replace(folds[key[1]], inner=())]
        refuse_leaks(data[key], own, head)
        refuse_empty_folds(data[key], own, head)
        jobs[head] += fold_jobs(workspace, head, data[key], own, protocol.targets)
    todo = [j for h in heads for j in jobs[h] if not is_done(j)]
    count = sum(len(j) for j in jobs.values())
    say(f"{len(heads)} heads on {len(folds)} folds ({folds.name}); {count - len(todo)} of {count} are there")
    with Meter("  training", len(todo), "folds") as meter:
        for _ in _train(workspace, manifest, protocol.targets, todo, data, workers):
            meter.add(1)
    for head in heads:
        read = [data[key] for key in _keys(workspace, head, folds)]
        _finish(workspace, head, read, jobs[head], protocol)
    say(f"wrote {relative_to_cwd(workspace.folder / 'posteriors')}, trained in {meter.seconds:.1f} s")
    say(f"next: {stage('fuse --report', experiment)}")
    return EXIT_OK


def _keys(workspace: Workspace, head: str, folds: Folds) -> list[tuple[str, int | None]]:
    return list(dict.fromkeys(data_key(workspace, head, f.index) for f in folds))


def _sweep(workspace: Workspace, workers: int) -> int:
    """Try every setting and write the table."""
    workspace.refuse_attributes("`train_heads --sweep`")
    if not workspace.experiment.sweep:
        raise ConfigError(f"{workspace.file.name} has no grid to try; add one under `sweep:`")
    tried = Sweep(workspace)
    todo = tried.todo()
    count = sum(len(own) for own in tried.jobs.values())
    say(
        f"{len(tried.jobs)} settings on {len(tried.protocol.folds)} folds ({tried.protocol.folds.name}); "
        f"{count - len(todo)} of {count} are there"
    )
    with Meter("  trying", len(todo), "folds") as meter:
        for _ in tried.run(todo, workers):
            meter.add(1)
    rows = tried.table()
    width = max(len(row.name) for row in rows)
    for row in rows:
        low, high = row.interval
        say(
            f"  {row.name:<{width}}  {100 * row.accuracy_mean:6.2f} ± {100 * row.binomial:.2f}  "
            f"[{100 * low:.1f}, {100 * high:.1f}]"
        )
    path = workspace.folder / "sweep" / f"{workspace.file.stem}.csv"
    write_table(path, rows)
    say("accuracy in %, ± binomial, [over subjects]; the best of many test figures is optimistic")
    say(f"wrote {relative_to_cwd(path)}, tried in {meter.seconds:.1f} s")
    return EXIT_OK


def _finish(
    workspace: Workspace,
    head: str,
    data: Sequence[HeadData],
    jobs: Sequence[FoldJob],
    protocol: Protocol,
) -> None:
    """Write a head's table and say how well it does."""
    table = assemble(workspace, head, data, jobs, protocol)
    posteriors.write(workspace.folder / "posteriors" / f"{head}.parquet", table)
    parts = [table.part("test", f.index) for f in protocol.folds]
    marks = [
        m
        for m, on in (("transductive", table.about.transductive), ("UNTRAINED", table.about.untrained))
        if on
    ]
    missing = table.about.missing_clips
    marks += [f"{len(missing)} clips without features"] if missing else []
    extra = f" ({', '.join(marks)})" if marks else ""
    if protocol.attributes:
        said = score_values(parts, protocol).said()
    else:
        scores = score(parts, protocol)
        said = f"accuracy {scores.accuracy_mean:.1%}, UAR {scores.uar:.1%}"
    say(f"  {head}: {said}{extra}")
    for line in [*table.about.missing_by_reason(), *table.about.remarks]:
        say(f"    {line}")


def _train(
    workspace: Workspace,
    manifest: Manifest,
    targets: Targets,
    todo: Sequence[FoldJob],
    data: Data,
    workers: int,
) -> Iterator[None]:
    """Train folds, in processes where that pays."""
    units = _units(workspace, todo, workers)
    if workers == 1 or len(units) <= 1:
        for unit in units:
            train_folds(workspace, unit, data[data_key(workspace, unit[0].head, unit[0].fold.index)], targets)
            yield from (None for _ in unit)
        return
    pool = worker_pool(min(workers, len(units)))
    try:
        # Jobs of one head follow each other, so that a process rarely loads another head's features.
        futures = {
            pool.submit(_train_in_worker, unit, workspace, manifest, targets): len(unit) for unit in units
        }
        for future in as_completed(futures):
            future.result()
            yield from (None for _ in range(futures[future]))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _units(workspace: Workspace, jobs: Sequence[FoldJob], workers: int) -> list[list[FoldJob]]:
    """Return what is trained in one go: a fold, or a process's share of the folds of a batched head."""
    units: list[list[FoldJob]] = []
    together: dict[tuple[str, int | None], list[FoldJob]] = {}
    for job in jobs:
        if workspace.head(job.head).batched:
            together.setdefault(data_key(workspace, job.head, job.fold.index), []).append(job)
        else:
            units.append([job])
    for own in together.values():
        units += [share for k in range(workers) if (share := own[k::workers])]
    return units


# The data that a worker process loaded last.
_LOADED: Data = {}


def _train_in_worker(unit: list[FoldJob], workspace: Workspace, manifest: Manifest, targets: Targets) -> None:
    key = data_key(workspace, unit[0].head, unit[0].fold.index)
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = load_data(workspace, manifest, *key)
    train_folds(workspace, unit, _LOADED[key], targets)


if __name__ == "__main__":
    run(app)
