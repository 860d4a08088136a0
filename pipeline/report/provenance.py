"""Where a report's figures come from: inputs, identities, versions, commands and their cost, licences."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from affectstack import __version__
from affectstack.hashing import file_sha256
from extractors.weights import RANDOM, cards
from pipeline import history
from pipeline.features import index_path
from pipeline.files import read_json
from pipeline.fusing import Fused
from pipeline.posteriors import PosteriorTable
from pipeline.report.tables import Table
from pipeline.sources import learned_from
from pipeline.store import identity_sha256
from pipeline.workspace import Workspace

_PACKAGES = (
    "numpy", "scipy", "scikit-learn", "pandas", "h5py", "torch", "torchvision", "transformers", "timm",
    "pyslowfast", "facenet-pytorch", "opensmile", "av", "soxr",
)  # fmt: skip
_PROGRAMS = {"opensmile": "openSMILE: research only", "openface": "OpenFace: research only"}
_OWN_WEIGHTS = {"faces": "mtcnn"}  # extractors whose weights have a card of another name


def provenance(workspace: Workspace, run: Fused, now: Mapping[str, Any]) -> list[Table]:
    """Return what a reader needs to make the figures again.

    Args:
        workspace: The experiment.
        run: Its result.
        now: The entry of the running command, see `history.Stopwatch`.
    """
    return [
        Table("Inputs", ["what", "which"], list(_inputs(workspace, run))),
        Table(
            "Frozen features, as the heads learned from them",
            ["feature", "extractor", "identity", "weights", "licence", "clips", "failed"],
            [_feature(workspace, name, identity) for name, identity in _features(workspace, run).items()],
            "Licences are those of the published weights and programs; weights of your own have their own.",
        ),
        Table("Commands", ["command", "began", "took", "processors", "memory", "ended"],
              [_command(entry) for entry in (*history.read(workspace.folder), now)],
              "Time of processors and peak memory are of the command and its children; the peak is of the "
              "largest process."),
        Table("Versions", ["what", "version"], list(_versions())),
    ]  # fmt: skip


def identities(workspace: Workspace, run: Fused) -> str:
    """Return everything that decides a figure, as JSON."""
    features = _features(workspace, run)
    heads = {about.source: about.head for about in run.abouts}
    fusion = workspace.experiment.fusion.model_dump(mode="json")
    return json.dumps({"features": features, "heads": heads, "fusion": fusion}, indent=1, sort_keys=True)


def _inputs(workspace: Workspace, run: Fused) -> Iterator[tuple[str, str]]:
    experiment = workspace.experiment
    yield "experiment", f"{workspace.file.name}, sha256 {file_sha256(workspace.folder / workspace.file.name)}"
    yield "manifest", f"{experiment.manifest}, sha256 {file_sha256(workspace.folder / experiment.manifest)}"
    told = "values" if run.protocol.attributes else "labels"
    yield f"clips, {told}, subjects and folds", f"sha256 {run.protocol.sha256}"
    if run.protocol.attributes:
        yield "attributes", ", ".join(run.protocol.attributes)
    else:
        yield "label", experiment.label
    yield "folds", run.folds_name
    yield "inner folds", str(experiment.inner_folds)
    yield "seed", str(experiment.seed)
    yield "fusion", json.dumps(experiment.fusion.model_dump(mode="json"), sort_keys=True)
    for about in run.abouts:
        if about.imported:
            yield f"source {about.source}", f"imported, {about.imported}"
        elif about.source in experiment.finetune:
            weights = workspace.finetune_weights(about.source) or "the encoder's usual ones"
            yield f"source {about.source}", f"fine-tuned from {weights}"


def _features(workspace: Workspace, run: Fused) -> dict[str, dict[str, Any]]:
    """Return the identity of every feature that a source learned from."""
    tables = [PosteriorTable(pd.DataFrame(), about) for about in run.abouts]
    return {name: identity for table in tables for name, identity in learned_from(workspace, table)}


def _feature(workspace: Workspace, name: str, identity: Mapping[str, Any]) -> Sequence[str]:
    extractor = str(identity.get("extractor", "?"))
    weights = identity.get("weights")
    index = read_json(index_path(workspace, name)) or {}
    return (
        name, extractor, identity_sha256(dict(identity))[:12], _weights(extractor, weights),
        _licence(extractor, weights), str(index.get("clips", "–")), str(index.get("failed", "–")),
    )  # fmt: skip


def _weights(extractor: str, weights: object) -> str:
    if weights is None:
        card = cards().get(_OWN_WEIGHTS.get(extractor, extractor))
        return card.title if card and card.package else "none"
    shown = ", ".join(map(str, weights)) if isinstance(weights, list) else str(weights)
    return "random (UNTRAINED)" if shown == RANDOM else shown


def _licence(extractor: str, weights: object) -> str:
    """Return the licence of published weights, where these are known to be them."""
    if extractor in _PROGRAMS:
        return _PROGRAMS[extractor]
    card = cards().get(_OWN_WEIGHTS.get(extractor, extractor))
    if card is None or weights == RANDOM:
        return "–"
    if card.package or (card.hub and weights == f"{card.hub}@{card.revision}"):
        return card.licence
    return f"{card.licence}, if they are {card.title}"


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
