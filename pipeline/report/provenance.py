"""Where a report's figures come from: inputs, identities, versions, commands and their cost, licences."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from affectstack import AffectstackError, __version__
from affectstack.hashing import file_sha256
from extractors.weights import cards
from pipeline import history
from pipeline.evaluation import Run
from pipeline.features import FeatureIndex, read_index
from pipeline.report.tables import Table
from pipeline.workspace import Workspace

_PACKAGES = (
    "numpy", "scipy", "scikit-learn", "pandas", "h5py", "torch", "torchvision", "transformers", "timm",
    "pyslowfast", "facenet-pytorch", "opensmile", "av", "soxr",
)  # fmt: skip
_OWN_WEIGHTS = {"faces": "mtcnn"}  # extractors whose weights have a card of another name


def provenance(workspace: Workspace, run: Run, now: Mapping[str, Any]) -> list[Table]:
    """Return what a reader needs to make the figures again.

    Args:
        workspace: The experiment.
        run: Its result.
        now: The entry of the running command, see `history.Stopwatch`.
    """
    indexes = [
        index for name in workspace.experiment.features if (index := _index(workspace, name)) is not None
    ]
    return [
        Table("Inputs", ["what", "which"], list(_inputs(workspace, run))),
        Table(
            "Frozen features",
            ["feature", "extractor", "identity", "weights", "licence", "clips", "failed"],
            [_feature(index) for index in indexes],
        ),
        Table("Commands", ["command", "began", "hours:minutes:seconds", "processor", "memory", "ended"],
              [_command(entry) for entry in (*history.read(workspace.folder), now)],
              "Time of processors and peak memory are of the command and its children; the peak is of the "
              "largest process."),
        Table("Versions", ["what", "version"], list(_versions())),
    ]  # fmt: skip


def identities(workspace: Workspace, run: Run) -> str:
    """Return everything that decides a figure, as JSON."""
    names = workspace.experiment.features
    features = {name: index.identity for name in names if (index := _index(workspace, name)) is not None}
    heads = {about.source: about.head for about in run.abouts}
    fusion = workspace.experiment.fusion.model_dump(mode="json")
    return json.dumps({"features": features, "heads": heads, "fusion": fusion}, indent=1, sort_keys=True)


def _inputs(workspace: Workspace, run: Run) -> Iterator[tuple[str, str]]:
    experiment = workspace.experiment
    yield "experiment", f"{workspace.file.name}, sha256 {file_sha256(workspace.folder / workspace.file.name)}"
    yield "manifest", f"{experiment.manifest}, sha256 {file_sha256(workspace.folder / experiment.manifest)}"
    yield "clips, labels, subjects and folds", f"sha256 {run.protocol.sha256}"
    yield "label", experiment.label
    yield "folds", run.folds_name
    yield "inner folds", str(experiment.inner_folds)
    yield "seed", str(experiment.seed)
    yield "fusion", json.dumps(experiment.fusion.model_dump(mode="json"), sort_keys=True)
    for about in run.abouts:
        if about.imported:
            yield f"source {about.source}", f"imported, {about.imported}"


def _feature(index: FeatureIndex) -> Sequence[str]:
    name = str(index.identity.get("extractor", "?"))
    card = cards().get(_OWN_WEIGHTS.get(name, name))
    weights = index.identity.get("weights", card.title if card and card.package else "none")
    shown = ", ".join(weights) if isinstance(weights, list) else str(weights)
    licence = "–" if card is None or index.untrained else card.licence
    mark = " (UNTRAINED)" if index.untrained else ""
    return (
        index.name, name, index.identity_sha256[:12], f"{shown}{mark}", licence, str(index.clips),
        str(index.failed),
    )  # fmt: skip


def _command(entry: Mapping[str, Any]) -> Sequence[str]:
    code = entry.get("exit_code")
    peak = entry.get("peak_mb")
    return (
        str(entry["command"]),
        str(entry["began"]),
        _clock(entry["seconds"]),
        _clock(entry.get("cpu_seconds")),
        f"{peak} MB" if isinstance(peak, int) else "–",
        "this report" if code is None else f"exit code {code}",
    )


def _clock(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return "–"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _versions() -> Iterator[tuple[str, str]]:
    yield "affectstack", __version__
    yield "Python", platform.python_version()
    yield "machine", f"{platform.system()} {platform.machine()}"
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _index(workspace: Workspace, name: str) -> FeatureIndex | None:
    """Return a feature's index; of one that the figures do not need, it may not be there."""
    try:
        return read_index(workspace, name)
    except AffectstackError:
        return None
