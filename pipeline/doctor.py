"""`python -m pipeline.doctor`: what an experiment lacks on this machine, and where to get it."""

import os
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from affectstack import AffectstackError
from extractors.hardware import cpp_compiler, has_bf16
from extractors.weights import Card, cards
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    EXIT_SOME_FAILED,
    ExperimentOption,
    run,
    say,
    workers_or_cores,
)
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
) -> int:
    """Say what is missing and where to put it. Exit code 2 if anything is."""
    for line in _machine():
        say(line)
    missing = list(_packages())
    if experiment != DEFAULT_EXPERIMENT or experiment.is_file():
        missing += _features(load(experiment))
    folder = experiment.parent
    say("weights that are known here:")
    for card in cards().values():
        if licence is Licence.ALL or card.permissive:
            say(_line(card, folder))
    for problem in missing:
        say(f"missing: {problem}")
    say(f"missing in all: {len(missing)}" if missing else "nothing is missing")
    return EXIT_SOME_FAILED if missing else EXIT_OK


def _machine() -> Iterator[str]:
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    units = "units for bfloat16" if has_bf16() else "no units for bfloat16"
    compiler = "a C++ compiler" if cpp_compiler() else "no C++ compiler"
    yield f"{workers_or_cores(None)} cores, {memory:.0f} GB, {gpu}, {units}, {compiler}"


def _packages() -> Iterator[str]:
    """Yield what is wrong with the packages that break each other."""
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError) as error:
        try:
            pair = f"torch {version('torch')} and torchvision {version('torchvision')}"
        except PackageNotFoundError:
            pair = "torchvision"
        yield (
            f"{pair} do not fit ({str(error).splitlines()[0]}); install both from one place: "
            "python -m pip install --force-reinstall torch torchvision"
        )


def _features(workspace: Workspace) -> Iterator[str]:
    """Say of each feature whether all that it needs is there; yield what is not."""
    for name in workspace.experiment.features:
        try:
            extractor = workspace.extractor(name)
            identity = extractor.identity()
        except AffectstackError as error:
            say(f"feature {name}: MISSING")
            yield f"feature {name!r}: {error}"
            continue
        state = "UNTRAINED, random weights" if extractor.untrained else "is there"
        known = [f"{weights}, sha256 {sha256[:12]}" for weights, sha256 in used_weights(identity)]
        say(f"feature {name}: {state}" + (f" ({'; '.join(known)})" if known else ""))


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _line(card: Card, folder: Path) -> str:
    if card.package:
        here = "installed" if _installed(card.package) else "not installed"
        return f"  {card.name}: {card.title}, {card.licence}, comes with {card.package}: {here}"
    where = "there" if (folder / card.file).exists() else f"not at {folder / card.file}"
    where = f"{where}, or from the hub: {card.hub}@{card.revision[:12]}" if card.hub else where
    return f"  {card.name}: {card.title}, {card.licence}, {where}"


if __name__ == "__main__":
    run(app)
