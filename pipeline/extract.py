"""`python -m pipeline.extract {video,audio,au,face,text,all}`: run the frozen extractors."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from affectstack import AffectstackError
from manifests import CORPORA
from pipeline.audit import FILE, unaudited, write_audit
from pipeline.beginning import begin
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
from pipeline.engine.cluster import RayEngine
from pipeline.engine.finish import publish_index, write_failures, write_ledgers
from pipeline.engine.local import LocalEngine, Settings, memory_per_worker
from pipeline.engine.messages import Limits
from pipeline.engine.plan import Plan, Takes, changed_keys, make_plan
from pipeline.engine.reporter import Reporter
from pipeline.estimate import held_against, read_forecast
from pipeline.experiment import load
from pipeline.features import index_path, read_index
from pipeline.files import WriteError, read_json
from pipeline.options import ConfigError
from pipeline.pins import pin, refuse_other_weights
from pipeline.store import Failure, sweep_temporaries
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False)


class Wanted(StrEnum):
    """What the command can be asked for: a modality, or all."""

    VIDEO = "video"
    AUDIO = "audio"
    AU = "au"
    FACE = "face"
    TEXT = "text"
    ALL = "all"


class WantedPrecision(StrEnum):
    """What networks compute in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class WantedEngine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


@app.command()
def extract(
    modality: Annotated[Wanted, typer.Argument(help="Which features to extract.")] = Wanted.ALL,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    workers: WorkersOption = None,
    precision: Annotated[
        WantedPrecision,
        typer.Option(help="What networks compute in; auto is bf16 where the hardware has it."),
    ] = WantedPrecision.AUTO,
    engine: Annotated[
        WantedEngine, typer.Option(help="Processes of this machine, or a Ray cluster.")
    ] = WantedEngine.LOCAL,
    address: Annotated[str, typer.Option(help="--engine ray: the address of the cluster.")] = "auto",
    max_failed: Annotated[
        str, typer.Option(help="How many clips may fail: a number, or a share like 10%.")
    ] = "10%",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try clips again that failed before.")
    ] = False,
    clip_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a clip may take without a sign of life.")
    ] = Limits.seconds,
    folder: Annotated[
        Path | None, typer.Option(help="Any folder of videos: begin an experiment on it first.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="--folder: the extractor.")] = None,
    weights: Annotated[str | None, typer.Option(help="--folder: its weights, or random.")] = None,
    config: Annotated[Path | None, typer.Option(help="--folder: the configuration of one's own.")] = None,
    windows: Annotated[
        str | None, typer.Option(help="--folder: sliding, per-frame, segments or clip.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="--folder: where to work; default: NAME-features, here.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="--folder: overwrite an experiment that was begun otherwise.")
    ] = False,
    overrides: SetOption = None,
) -> int:
    """Run the experiment's extractors of a modality over the corpus; goes on where it stopped."""
    choices = {"extractor": network, "weights": weights, "config": config, "windows": windows}
    chosen = {key: value for key, value in choices.items() if value is not None}
    if folder is not None:
        recipe, changes = _recipe(modality, chosen)
        experiment = (out or Path(f"{folder.resolve().name}-features")) / experiment.name
        own = [*changes, *(overrides or ())]
        begin(CORPORA["folder"](), "folder", folder, recipe, experiment, own, force=force)
    elif chosen or force or out is not None:
        raise ConfigError(
            "--network, --weights, --config, --windows, --out and --force go with --folder; "
            "of an experiment, change its file or give --set features.NAME.weights=…"
        )
    workspace = load(experiment, () if folder is not None else overrides or ())
    features = chosen_features(workspace, modality)
    refuse_unfinished(workspace, features)
    for feature in features:
        workspace.extractor(feature).identity()  # weights that are missing are missed before anything starts
    manifest = workspace.manifest()
    budget = _budget(max_failed, len(manifest))
    takes = Takes(manifest, workspace.root)
    far = engine is WantedEngine.RAY
    count = (workers or 0) if far else workers_or_cores(workers)
    settings = Settings(count, Limits(clip_timeout, memory_per_worker(count or 1)))
    subjects = {str(clip): str(subject) for clip, subject in manifest.subjects().items()}
    done: list[Plan] = []
    forecast = read_forecast(workspace)
    try:
        for wave in waves(workspace, features):
            plans = [
                make_plan(workspace, manifest, takes, f, precision=precision.value, retry_failed=retry_failed)
                for f in wave
            ]
            for plan in plans:
                _introduce(plan, workspace)
                refuse_other_weights(workspace, plan.feature, plan.identity)
                sweep_temporaries(plan.folder)
            told = None if far or forecast is None else forecast.wave_of(plans, count)
            todo, began = {p.feature: p.todo for p in plans}, time.monotonic()
            over = _run(plans, workspace, settings, budget, address if far else None)
            took = time.monotonic() - began
            if over is not None:
                complain(
                    f"feature {over.feature!r}: more than {max_failed} of {len(manifest)} clips failed, "
                    f"stopped. See {relative_to_cwd(over.folder / 'failures.csv')}; mend the clips, or raise "
                    "--max-failed"
                )
                return EXIT_BUDGET
            for plan in plans:
                _finish(plan, workspace, subjects)
            if told is not None:
                for line in held_against(told, took, {p.feature: p.written(todo[p.feature]) for p in plans}):
                    say(f"  {line}")
            done += plans
    except WriteError as error:
        complain(
            f"{error}. Shards that are finished are kept: make room, or make the folder writable, "
            "and run the same command again"
        )
        return EXIT_BUDGET
    say(f"wrote {', '.join(relative_to_cwd(plan.folder) for plan in done)}")
    say(f"next: {stage(_next_stage(workspace), workspace.file)}")
    return EXIT_SOME_FAILED if any(_failures(plan) for plan in done) else EXIT_OK


def _recipe(modality: Wanted, chosen: Mapping[str, object]) -> tuple[str, list[str]]:
    """Return the recipe for a folder of videos, and what of it the command line changes."""
    if modality is Wanted.FACE:
        named = {"modality": "face", **chosen, "crops": "faces"} if chosen else {}
        if chosen and "extractor" not in chosen:
            raise ConfigError("--folder: name the network that looks at faces: --network efficientface")
        return "face-features", [f"features.face.{key}={value}" for key, value in named.items()]
    if modality in (Wanted.AUDIO, Wanted.AU, Wanted.TEXT):
        raise ConfigError(
            f"--folder is for clip networks and faces, not for {modality.value}; begin an experiment with "
            "python -m pipeline.init --corpus folder"
        )
    return "clip-features", [f"features.clip.{key}={value}" for key, value in chosen.items()]


def chosen_features(workspace: Workspace, modality: Wanted) -> list[str]:
    """Return the features of a modality.

    Raises:
        ConfigError: If there is none.
    """
    specs = workspace.experiment.features
    chosen = [n for n, spec in specs.items() if modality.value in ("all", spec.modality)]
    if not chosen:
        there = ", ".join(f"{n} ({s.modality})" for n, s in specs.items()) or "none"
        raise ConfigError(
            f"{workspace.file.name} has no {modality.value} features; it has {there}. "
            "Run python -m pipeline.extract all, or add one"
        )
    return chosen


def waves(workspace: Workspace, features: Sequence[str]) -> Iterator[list[str]]:
    """Yield the features that read media, then those that read what other features hold."""
    second = [f for f in features if workspace.extractor(f).reads_feature is not None]
    if first := [f for f in features if f not in second]:
        yield first
    if second:
        yield second


def refuse_unfinished(workspace: Workspace, features: Sequence[str]) -> None:
    """Refuse features whose encoder was not fine-tuned yet."""
    for feature in features:
        encoder = workspace.tuned_encoder(feature)
        if encoder is None:
            continue
        note = read_json(encoder.parent / "fold.json")
        wanted = workspace.finetune_identity(encoder.parents[1].name)
        if note is None or note.get("identity") != wanted:
            what = "is not there" if note is None else "was made with other settings"
            raise ConfigError(
                f"feature {feature!r}: {relative_to_cwd(encoder)} {what}; run: "
                + stage("finetune audio", workspace.file)
            )


def _introduce(plan: Plan, workspace: Workspace) -> None:
    """Say what a feature is, what is there already, and why what was there before does not count."""
    untrained = " [UNTRAINED: random weights]" if plan.extractor.untrained else ""
    precision = f", {plan.identity['precision']}" if "precision" in plan.identity else ""
    say(f"{plan.feature}: {plan.identity['extractor']}, {plan.extractor.dim} values{precision}{untrained}")
    before = (read_json(index_path(workspace, plan.feature)) or {}).get("identity")
    if isinstance(before, dict) and before != plan.identity:
        say(f"  extracted before with another identity ({changed_keys(before, plan.identity)}); not mixed")
    if plan.clips_done:
        say(f"  {plan.clips_done} of {len(plan.takes)} clips are there already")


def _run(
    plans: list[Plan], workspace: Workspace, settings: Settings, budget: int, address: str | None
) -> Plan | None:
    """Make what is not there; return the feature that went over the budget, or None."""
    todo = {p.feature: p.todo for p in plans}
    failed = {p.feature: sum(len(r.failures) for r in p.finished.values()) for p in plans}
    wanted = Counter(clip for p in plans for i in todo[p.feature] for clip in p.tasks[i].clips)
    log = workspace.folder / "features" / "log.jsonl"
    with Reporter(wanted, log) as reporter, _engine(plans, settings, reporter, address) as engine:
        for made in engine.make(todo):
            made.plan.finished[made.shard] = made.record
            made.plan.verified.seal(made.plan.tasks[made.shard].path, made.record)
            reporter.shard(made)
            failed[made.plan.feature] += len(made.record.failures)
            if failed[made.plan.feature] > budget:
                break
    for plan in plans:
        plan.verified.save()
        if failed[plan.feature] > budget:
            _say_failures(plan)
            write_failures(plan.folder / "failures.csv", _failures(plan))
            return plan
    return None


def _engine(
    plans: list[Plan], settings: Settings, reporter: Reporter, address: str | None
) -> LocalEngine | RayEngine:
    if address is None:
        return LocalEngine(plans, settings, reporter)
    return RayEngine(plans, settings, reporter, address)


def _failures(plan: Plan) -> list[Failure]:
    return [f for i in sorted(plan.finished) for f in plan.finished[i].failures]


def _say_failures(plan: Plan) -> None:
    failures = _failures(plan)
    for failure in failures[:10]:
        say(f"  failed: {failure.clip_id}: {failure.type}: {failure.message}")
    if len(failures) > 10:
        say(f"  … and {len(failures) - 10} more, see {relative_to_cwd(plan.folder / 'failures.csv')}")


def _finish(plan: Plan, workspace: Workspace, subjects: Mapping[str, str]) -> None:
    """Publish the index and the ledgers of a feature; say what was made."""
    index = publish_index(plan, workspace)
    counted = write_ledgers(plan, subjects)
    silent = [clip for record in plan.records for clip in record.silent]
    empty = [clip for record in plan.records for clip in record.empty]
    text = _few(silent, "silent") + _few(empty, "without a valid row")
    say(f"  {plan.feature}: {index.clips} clips, {index.failed} failed{text}")
    if counted:
        sums = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counted.items())
        say(f"  {sums}; by clip and subject in {relative_to_cwd(plan.folder / 'ledger.csv')}")
    if odd := write_audit(plan.folder, plan.records):
        say(f"  audit: {odd}; see {relative_to_cwd(plan.folder / FILE)}")
    if before := unaudited(plan.records):
        say(f"  audit: {before} of {index.clips} clips were extracted before there was one")
    for line in pin(workspace, plan.feature, plan.identity):
        say(f"  {line}")
    _say_failures(plan)


def _few(clips: Sequence[str], what: str) -> str:
    return f", {len(clips)} {what} ({', '.join(clips[:3])}{', …' * (len(clips) > 3)})" if clips else ""


def _budget(text: str, clips: int) -> int:
    """Return how many clips may fail; a share allows at least one."""
    number = text.removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (text.endswith("%") and value > 100):
        raise ConfigError(f"--max-failed {text}: expected a number of clips, or a share like 10%")
    return max(1, int(clips * value / 100)) if text.endswith("%") and value else int(value)


def _next_stage(workspace: Workspace) -> str:
    """Return what is still to be done before the fusion."""
    for name, spec in workspace.experiment.features.items():
        try:
            read_index(workspace, name)
        except AffectstackError:
            return f"extract {spec.modality}"
    if workspace.experiment.heads:
        return "train_heads"
    name = next(iter(workspace.experiment.features))
    return f"store export {name} --format npy --out {name}-npy"


if __name__ == "__main__":
    run(app)
