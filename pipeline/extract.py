"""`python -m pipeline.extract {video,audio,au,face,text,all}`: run the frozen extractors."""

from enum import StrEnum
from typing import Annotated

import typer

from affectstack import AffectstackError
from pipeline import engine
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_BUDGET,
    EXIT_OK,
    EXIT_SOME_FAILED,
    ExperimentOption,
    SetOption,
    WorkersOption,
    complain,
    relative_to_cwd,
    run,
    say,
    stage,
    workers_or_cores,
)
from pipeline.experiment import Workspace, load
from pipeline.features import FeatureIndex
from pipeline.options import ConfigError
from pipeline.progress import Meter
from pipeline.store import Record

app = typer.Typer(add_completion=False)


class Wanted(StrEnum):
    """What the command can be asked for: a modality, or all."""

    VIDEO = "video"
    AUDIO = "audio"
    AU = "au"
    FACE = "face"
    TEXT = "text"
    ALL = "all"


@app.command()
def extract(
    modality: Annotated[Wanted, typer.Argument(help="Which features to extract.")] = Wanted.ALL,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    workers: WorkersOption = None,
    max_failed: Annotated[
        str, typer.Option(help="How many clips may fail: a number, or a share like 10%.")
    ] = "10%",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try clips again that failed before.")
    ] = False,
    overrides: SetOption = None,
) -> int:
    """Run the experiment's extractors of a modality over the corpus; goes on where it stopped."""
    workspace = load(experiment, overrides or ())
    features = _features(workspace, modality)
    manifest = workspace.manifest()
    budget = _budget(max_failed, len(manifest))
    failed, written = 0, []
    for feature in features:
        work = engine.plan(workspace, manifest, feature, retry_failed=retry_failed)
        index = _extract(work, workspace, workers_or_cores(workers), budget)
        if index is None:
            complain(
                f"feature {feature!r}: more than {max_failed} of {len(manifest)} clips failed, stopped. "
                "Mend the clips above, or raise --max-failed"
            )
            return EXIT_BUDGET
        failed += index.failed
        written.append(index)
    folders = ", ".join(relative_to_cwd(workspace.folder / i.folder) for i in written)
    say(f"wrote {folders}")
    say(f"next: {stage(_next_stage(workspace), experiment)}")
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _features(workspace: Workspace, modality: Wanted) -> list[str]:
    specs = workspace.experiment.features
    chosen = [n for n, spec in specs.items() if modality.value in ("all", spec.modality)]
    if not chosen:
        there = ", ".join(f"{n} ({s.modality})" for n, s in specs.items()) or "none"
        raise ConfigError(
            f"{workspace.file.name} has no {modality.value} features; it has {there}. "
            "Run python -m pipeline.extract all, or add one"
        )
    return chosen


def _extract(work: engine.Plan, workspace: Workspace, workers: int, budget: int) -> FeatureIndex | None:
    """Extract one feature; None if too many clips failed."""
    untrained = " [UNTRAINED: random weights]" if work.extractor.untrained else ""
    say(f"{work.feature}: {work.identity['extractor']}, {work.extractor.dim} values{untrained}")
    before = work.clips_done
    failures = [f for r in work.finished.values() for f in r.failures]
    if before:
        say(f"  {before} of {work.clips} clips are there already")
    with Meter(f"  {work.feature}", work.clips - before, "clips") as meter:

        def on_shard(task: engine.ShardTask, record: Record) -> bool:
            failures.extend(record.failures)
            meter.add(len(task.takes), len(record.failures))
            return len(failures) <= budget

        engine.execute(work, workspace, workers, on_shard)
    for failure in failures[:10]:
        say(f"  failed: {failure.clip_id}: {failure.type}: {failure.message}")
    if len(failures) > 10:
        say(f"  … and {len(failures) - 10} more, see failures.csv")
    if len(failures) > budget or len(work.finished) < len(work.tasks):
        engine.write_failures(work.folder / "failures.csv", failures)
        return None
    index = engine.publish_index(work, workspace)
    rate = f", {meter.done / meter.seconds:.1f} clips/s" if meter.done else ""
    say(f"  {index.clips} clips, {index.failed} failed, {meter.seconds:.1f} s{rate}")
    return index


def _budget(text: str, clips: int) -> int:
    """Return how many clips may fail; a share allows at least one."""
    number = text.removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if value < 0 or (text.endswith("%") and value > 100):
        raise ConfigError(f"--max-failed {text}: expected a number of clips, or a share like 10%")
    return max(1, int(clips * value / 100)) if text.endswith("%") and value else int(value)


def _next_stage(workspace: Workspace) -> str:
    """Return what is still to be done before the fusion."""
    from pipeline.features import read_index

    for name, spec in workspace.experiment.features.items():
        try:
            read_index(workspace, name)
        except AffectstackError:
            return f"extract {spec.modality}"
    return "train_heads"


if __name__ == "__main__":
    run(app)
