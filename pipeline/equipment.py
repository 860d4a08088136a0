"""What an experiment lacks on a machine that has the software: room, weights, programs."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from affectstack import AffectstackError
from extractors import Extractor
from extractors.openface import OpenFace
from extractors.weights import Card, Weights, cards, resolve
from pipeline import checks
from pipeline.checks import Line
from pipeline.estimate import planned_bytes
from pipeline.experiment import load
from pipeline.pins import used_weights
from pipeline.workspace import Workspace


def equipment(experiment: Path | None, folder: Path, *, permissive: bool, hub: bool) -> Iterator[Line]:
    """Yield what is there and what is missing.

    Args:
        experiment: Its file; None looks at the machine alone.
        folder: Where the work goes on.
        permissive: Whether to list only weights that may be used for anything.
        hub: Whether to ask if the Hugging Face hub answers.

    Raises:
        ConfigError: If the experiment cannot be read.
    """
    workspace = None if experiment is None else load(experiment)
    yield from checks.devices()
    yield from checks.codecs()
    yield from checks.folder_lines(folder, None if workspace is None else planned_bytes(workspace))
    if hub:
        yield checks.hub_state()
    yield checks.openface_line()
    if workspace is not None:
        yield from (_feature(workspace, name) for name in workspace.experiment.features)
    for card in cards().values():
        if card.permissive or not permissive:
            yield _card(card, folder)


def _feature(workspace: Workspace, name: str) -> Line:
    """Return whether all that a feature needs is there."""
    try:
        extractor = workspace.extractor(name)
        weights = _on_hub(workspace.experiment.features[name].extractor, extractor)
        if weights is not None:
            return checks.hub_weights(name, weights)
        identity = extractor.identity()
        if isinstance(extractor, OpenFace):
            extractor.prepare()  # looks for the program or the files, and loads nothing
    except AffectstackError as error:
        return Line("missing", f"feature {name}", str(error))
    known = [f"{weights}, sha256 {sha256[:12]}" for weights, sha256 in used_weights(identity)]
    files = f" ({'; '.join(known)})" if known else ""
    if extractor.untrained:
        return Line("note", f"feature {name}: UNTRAINED, random weights{files}")
    return Line("ok", f"feature {name}: is there{files}")


def _on_hub(network: str, extractor: Extractor) -> Weights | None:
    """Return the weights of a feature if they are on the hub, which its identity would wait for."""
    spec = getattr(extractor, "weights", None)
    if network not in cards() or not (spec is None or isinstance(spec, str)):
        return None
    weights = resolve(spec, cards()[network])
    return weights if weights.hub else None


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _card(card: Card, folder: Path) -> Line:
    """Return whether some weights are there; no experiment needs all of them."""
    if card.package:
        there = _installed(card.package)
        where = f"comes with {card.package}: {'installed' if there else 'not installed'}"
    else:
        there = (folder / card.file).exists()
        where = "there" if there else f"not at {card.file}"
        where += f", or from the hub: {card.hub}@{card.revision[:12]}" if card.hub else ""
    return Line("ok" if there else "note", f"weights of {card.name}: {card.title}, {card.licence}, {where}")
