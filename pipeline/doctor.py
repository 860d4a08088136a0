"""`python -m pipeline.doctor`: what an experiment lacks on this machine, and how to mend it."""

from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from affectstack import AffectstackError
from extractors import Extractor
from extractors.openface import OpenFace
from extractors.weights import Card, Weights, cards, resolve
from pipeline import checks
from pipeline.checks import Line
from pipeline.cli import DEFAULT_EXPERIMENT, EXIT_OK, EXIT_SOME_FAILED, ExperimentOption, run, say
from pipeline.estimate import planned_bytes
from pipeline.experiment import load
from pipeline.pins import used_weights
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False)


class Licence(StrEnum):
    """Which weights are listed."""

    ALL = "all"
    PERMISSIVE = "permissive"


@app.command()
def doctor(
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    licence: Annotated[Licence, typer.Option(help="Which weights to list.")] = Licence.ALL,
    hub: Annotated[bool, typer.Option("--hub", help="Ask whether the Hugging Face hub answers.")] = False,
) -> int:
    """Say what is missing and how to mend it. Exit code 2 if anything is."""
    workspace = load(experiment) if experiment != DEFAULT_EXPERIMENT or experiment.is_file() else None
    missing = 0
    for line in _lines(workspace, experiment.resolve().parent, licence, hub):
        say(str(line))
        missing += line.state == "missing"
    say(f"missing in all: {missing}" if missing else "nothing is missing")
    return EXIT_SOME_FAILED if missing else EXIT_OK


def _lines(workspace: Workspace | None, folder: Path, licence: Licence, hub: bool) -> Iterator[Line]:
    yield from checks.software()
    yield from checks.devices()
    yield from checks.codecs()
    yield from checks.folder_lines(folder, None if workspace is None else planned_bytes(workspace))
    if hub:
        yield checks.hub_state()
    yield checks.openface_line()
    if workspace is not None:
        yield from (_feature(workspace, name) for name in workspace.experiment.features)
    for card in cards().values():
        if licence is Licence.ALL or card.permissive:
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


if __name__ == "__main__":
    run(app)
