"""`python -m pipeline.plan [video|audio|…|all]`: what an extraction will cost, before it begins."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from extractors.contract import ClipError, WindowExtractor
from extractors.media import duration
from manifests import Manifest
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
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
from pipeline.engine.local import Settings, memory_per_worker
from pipeline.engine.messages import Limits
from pipeline.engine.plan import Plan, ShardTask, Takes, identified, identity_of, make_plan
from pipeline.estimate import FeaturePlan, Forecast, Trend, WavePlan, size_text, time_text
from pipeline.experiment import load
from pipeline.extract import Wanted, WantedPrecision, chosen_features, refuse_unfinished, waves
from pipeline.features import FeatureError
from pipeline.probing import Cost, Probe, peak_memory
from pipeline.report.tables import Form, Table, write
from pipeline.store import Verified, identity_sha256, shard_name
from pipeline.store.layout import values_bytes
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False)
_MOST_HEADERS = 500  # of files whose length the manifest does not say; the others count as the usual one


@dataclass(frozen=True)
class _Corpus:
    """The clips, and how long each of them is, in seconds."""

    manifest: Manifest
    takes: Takes
    lengths: Sequence[float]

    def of(self, plan: Plan) -> list[list[float]]:
        """Return the lengths of the clips that are still to be done for a feature, by shard."""
        return [[self.lengths[i] for i in plan.tasks[shard].clips] for shard in plan.todo]


@app.command()
def plan(
    modality: Annotated[Wanted, typer.Argument(help="Which features to plan for.")] = Wanted.ALL,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    clips: Annotated[int, typer.Option(min=1, help="How many clips to try, of all lengths.")] = 3,
    workers: WorkersOption = None,
    precision: Annotated[
        WantedPrecision, typer.Option(help="As extract will be told.")
    ] = WantedPrecision.AUTO,
    overrides: SetOption = None,
) -> int:
    """Try a few clips, and say what an extraction of the others will take. Exit code 2 if it cannot be."""
    workspace = load(experiment, overrides or ())
    features = chosen_features(workspace, modality)
    refuse_unfinished(workspace, features)
    manifest = workspace.manifest()
    takes = Takes(manifest, workspace.root)
    corpus = _Corpus(manifest, takes, _lengths(takes))
    grouped = [
        [_planned(workspace, corpus, feature, precision.value) for feature in wave]
        for wave in waves(workspace, features)
    ]
    todo = sorted({i for wave in grouped for p in wave for shard in p.todo for i in p.tasks[shard].clips})
    if not todo:
        say(f"all {len(manifest)} clips are there already; nothing is left to extract")
        return EXIT_OK
    chosen = _spread(todo, corpus.lengths, clips)
    count = workers_or_cores(workers)
    say(f"trying {len(chosen)} of {len(todo)} clips, {_span(chosen, corpus.lengths)} long")
    settings = Settings(count, Limits(bytes=memory_per_worker(count)))
    told, failed = _tried(workspace, corpus, grouped, chosen, settings, precision.value)
    for feature, reason in failed.items():
        complain(f"feature {feature!r}: {reason}")
    if not told:
        complain(
            f"none of the {len(chosen)} clips that were tried could be extracted, so that nothing can be "
            f"said; look at {workspace.root} and at the manifest"
        )
        return EXIT_SOME_FAILED
    there = [_feature(p, [], []) for wave in grouped for p in wave if not p.todo]
    forecast = Forecast(count, [*([WavePlan(there, 0.0, 0.0)] if there else []), *told], peak_memory(count))
    say(write([_table(forecast, len(manifest))], Form.TEXT))
    free = shutil.disk_usage(workspace.folder).free
    if forecast.bytes > free:
        complain(f"{size_text(forecast.bytes)} do not fit: {size_text(free)} are free in {workspace.folder}")
    if failed:
        return EXIT_SOME_FAILED
    say(f"wrote {relative_to_cwd(forecast.write(workspace))}")
    say(f"next: {stage(f'extract {modality.value}', workspace.file)}")
    return EXIT_SOME_FAILED if forecast.bytes > free else EXIT_OK


def _planned(workspace: Workspace, corpus: _Corpus, feature: str, precision: str) -> Plan:
    """Return what is to be done; all clips for a feature that reads what is not extracted yet."""
    try:
        return make_plan(workspace, corpus.manifest, corpus.takes, feature, precision=precision)
    except FeatureError:
        extractor, _ = identified(workspace, corpus.manifest, feature, precision)
        source = _planned(workspace, corpus, str(extractor.reads_feature), precision)
        identity = identity_of(workspace, feature, extractor, source.identity)
        nowhere = workspace.folder / "features" / feature
        whole = [ShardTask(nowhere / shard_name(0), range(len(corpus.takes)), "")]
        return Plan(feature, extractor, identity, nowhere, corpus.takes, whole, {}, Verified(nowhere))


def _lengths(takes: Takes) -> list[float]:
    """Return how long clips are; where nobody knows, as long as the others."""
    found: list[float | None] = []
    asked = 0
    for i in range(len(takes)):
        seconds = takes.seconds(i)
        file = (
            takes[i].clip.video or takes[i].clip.audio if seconds is None and asked < _MOST_HEADERS else None
        )
        if file is not None:
            asked += 1
            try:
                seconds = duration(file)
            except ClipError:
                seconds = None
        found.append(seconds)
    known = [seconds for seconds in found if seconds]
    usual = float(np.median(known)) if known else 1.0
    return [usual if seconds is None else seconds for seconds in found]


def _spread(todo: Sequence[int], lengths: Sequence[float], count: int) -> list[int]:
    """Return some clips of different lengths: the middle ones of equal parts of all, by length."""
    ordered = sorted(todo, key=lambda i: (lengths[i], i))
    count = min(count, len(ordered))
    return [ordered[(2 * j + 1) * len(ordered) // (2 * count)] for j in range(count)]


def _span(chosen: Sequence[int], lengths: Sequence[float]) -> str:
    return f"{min(lengths[i] for i in chosen):.1f} to {max(lengths[i] for i in chosen):.1f} s"


def _tried(
    workspace: Workspace,
    corpus: _Corpus,
    grouped: Sequence[Sequence[Plan]],
    chosen: Sequence[int],
    settings: Settings,
    precision: str,
) -> tuple[list[WavePlan], dict[str, str]]:
    """Extract the chosen clips into a folder that is removed; return what follows, and what failed."""
    told: list[WavePlan] = []
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="affectstack-plan-") as folder:
        wanted = [p for wave in grouped for p in wave if p.todo]
        second = [p for p in wanted if p.extractor.reads_feature is not None]
        sources = dict.fromkeys(str(p.extractor.reads_feature) for p in second)
        first = [p for p in wanted if p.extractor.reads_feature is None]
        known = {p.feature for p in first}
        others = [_planned(workspace, corpus, name, precision) for name in sources if name not in known]

        def probe(plans: Sequence[Plan]) -> Probe:
            lengths = [corpus.lengths[i] for i in chosen]
            windows = {p.feature: p.windows() for p in plans}
            return Probe(
                plans, corpus.manifest, workspace.root, chosen, lengths, Path(folder), settings, windows
            )

        media = None
        if first or others:
            media = probe([*first, *others])
            _foretell(media, corpus, first, None, told, failed)
        read: list[WavePlan] = []
        for name in sources:
            readers = [p for p in second if p.extractor.reads_feature == name]
            assert media is not None  # noqa: S101  # whatever is read was tried
            source, copies = media.source(name)
            own = probe([replace(p, source=source) for p in readers])
            _foretell(own, corpus, readers, copies, read, failed)
    return [*told, *([_one_wave(read)] if read else [])], failed


def _foretell(
    probe: Probe,
    corpus: _Corpus,
    plans: Sequence[Plan],
    copies: Mapping[int, int] | None,
    told: list[WavePlan],
    failed: dict[str, str],
) -> None:
    alone, together = probe.measure(copies)
    found = [_feature(p, corpus.of(p), list(alone[p.feature].values())) for p in plans if alone[p.feature]]
    for p in plans:
        if not alone[p.feature]:
            failed[p.feature] = f"none of the clips could be extracted ({probe.failures.get(p.feature, '')})"
    if not found:
        return
    media = {p.feature for p in probe.plans if p.extractor.reads_media}
    left = _left(together, [alone[name] for name in media])
    seconds = sum(f.seconds * (left if f.feature in media else 1.0) for f in found)
    start = probe.start if any(f.clips for f in found) else 0.0
    told.append(WavePlan(found, start, start + seconds))


def _left(together: Mapping[int, Cost], alone: Sequence[Mapping[int, Cost]]) -> float:
    """Return what share of the work is left where clips are decoded once for features that read media.

    Args:
        together: What clips cost all features at once; empty if there is one.
        alone: What they cost each.
    """
    common = [j for j in together if all(j in costs for costs in alone)]  # or unlike would be compared
    apart = sum(costs[j].work for costs in alone for j in common)
    return sum(together[j].work for j in common) / apart if apart else 1.0


def _one_wave(waves: Sequence[WavePlan]) -> WavePlan:
    """Return the plan of waves that `extract` runs as one, which starts once."""
    start = max(wave.start for wave in waves)
    seconds = start + sum(wave.seconds - wave.start for wave in waves)
    return WavePlan([f for wave in waves for f in wave.features], start, seconds)


def _feature(plan: Plan, shards: Sequence[Sequence[float]], costs: Sequence[Cost]) -> FeaturePlan:
    """Return what is foretold of a feature, of the lengths of its clips by shard and of what some cost."""

    def total(values: Sequence[float]) -> list[float]:
        return [Trend.through([cost.seconds for cost in costs], values).sum(lengths) for lengths in shards]

    extractor = plan.extractor
    rows = total([cost.rows for cost in costs])
    sizes = total([cost.bytes for cost in costs])
    each = sum(cost.shard_bytes for cost in costs) / max(len(costs), 1)
    return FeaturePlan(
        feature=plan.feature,
        clips=sum(map(len, shards)),
        there=plan.clips_done,
        rows=round(sum(rows)),
        gflop_per_row=extractor.gflop_per_window() if isinstance(extractor, WindowExtractor) else 0.0,
        seconds=sum(total([cost.work for cost in costs])),
        bytes=sum(sizes) + sum(each + values_bytes(round(count), extractor.dim) for count in rows),
        identity_sha256=identity_sha256(plan.identity),
    )


def _table(forecast: Forecast, clips: int) -> Table:
    rows = []
    for feature in (f for wave in forecast.waves for f in wave.features):
        counted = feature.gflop_per_row > 0
        rows.append(
            [
                feature.feature,
                f"{feature.clips:,}",
                f"{feature.there:,} of {clips:,}",
                f"{feature.rows:,}",
                f"{feature.gflop_per_row:,.4g}" if counted else "-",
                f"{feature.gflop_per_row * feature.rows:,.0f}" if counted else "-",
                time_text(feature.seconds),
                size_text(feature.bytes),
            ]
        )
    rows.append(["all", "", "", "", "", "", time_text(forecast.seconds), size_text(forecast.bytes)])
    start = time_text(sum(wave.start for wave in forecast.waves))
    note = (
        f"Times of features are those of each alone; in all (with {start} to start) clips are decoded "
        f"once. {forecast.workers} workers; at most {size_text(forecast.memory)} of memory were taken."
    )
    columns = ["feature", "clips", "there", "rows", "GFLOP/row", "GFLOP", "time", "size"]
    return Table("What is left to extract", columns, rows, note)


if __name__ == "__main__":
    run(app)
