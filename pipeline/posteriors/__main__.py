"""`python -m pipeline.posteriors {ls,import,export}`: bring foreign posteriors in, and ours out."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline import posteriors
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    ExperimentOption,
    relative_to_cwd,
    run,
    say,
    stage,
)
from pipeline.experiment import load
from pipeline.options import ConfigError
from pipeline.posteriors.dialects import DIALECTS, Foreign, read_csv
from pipeline.posteriors.exporting import FORMATS, export
from pipeline.posteriors.importing import bring_in
from pipeline.protocol import Protocol
from pipeline.scoring import score
from pipeline.sections import NAME
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Look after posterior tables.")
Dialect = StrEnum("Dialect", {name: name for name in ("csv", *DIALECTS)})  # type: ignore[misc]  # made from a table
Form = StrEnum("Form", {name: name for name in FORMATS})  # type: ignore[misc]


@app.command("ls")
def list_tables(experiment: ExperimentOption = DEFAULT_EXPERIMENT) -> int:
    """List the posterior tables and what they come from."""
    workspace = load(experiment)
    protocol = Protocol.of(workspace)
    for path in sorted((workspace.folder / "posteriors").glob("*.parquet")):
        table = posteriors.read(path)
        origin = f"imported from {table.about.imported}" if table.about.imported else table.about.head["head"]
        splits = ", ".join(
            f"{n} {split}" for split, n in table.rows["split"].value_counts().sort_index().items()
        )
        stale = (
            "" if table.about.protocol_sha256 == protocol.sha256 else ", of other labels, subjects or folds"
        )
        say(f"{path.stem}: {origin}, {splits}{stale}")
    return EXIT_OK


@app.command("import")
def import_posteriors(
    path: Annotated[Path, typer.Argument(help="The file or the folder.")],
    form: Annotated[Dialect, typer.Option("--format", help="Who wrote it.")],
    name: Annotated[str, typer.Option("--name", help="What to call the source.")],
    key: Annotated[str | None, typer.Option(help="csv: the column that names the clip.")] = None,
    name_pattern: Annotated[
        str | None, typer.Option(help="Regular expression whose one group is the clip id inside a name.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option(metavar="THEIRS=OURS", help="Another name for a class; repeatable.")
    ] = None,
    others_trained: Annotated[
        bool,
        typer.Option("--others-trained", help="Each model was trained on the other folds' subjects alone."),
    ] = False,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
) -> int:
    """Bring in posteriors that other software made, checked against the manifest and the folds."""
    workspace = load(experiment)
    workspace.refuse_attributes("`posteriors import`")
    if name in {*workspace.experiment.heads, *workspace.experiment.finetune}:
        raise ConfigError(f"--name {name}: this is a head of {experiment}; choose another name")
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"--name {name}: expected letters, digits, '.', '_', '@', '-'")
    protocol = Protocol.of(workspace)
    names = _pairs(rename or ())
    foreign = _read(path, form.value, key, names, protocol)
    table, notes = bring_in(
        foreign,
        name,
        protocol,
        rename=names,
        name_pattern=name_pattern,
        others_trained=others_trained,
    )
    written = workspace.folder / "posteriors" / f"{name}.parquet"
    posteriors.write(written, table)
    for note in notes:
        say(f"  {note}")
    if foreign.selected_on_test:
        say("  selected on test: these models were chosen by their own test clips; reports will say so")
    scores = score([table.part("test", f.index) for f in protocol.folds], protocol)
    say(f"  {name}: {foreign.kind}, accuracy {scores.accuracy_mean:.1%}, UAR {scores.uar:.1%}")
    say(f"wrote {relative_to_cwd(written)}")
    if name in workspace.experiment.imported:
        say(f"next: {stage('fuse --report', experiment)}")
    else:
        listed = ", ".join([*workspace.experiment.imported, name])
        say(
            f"next: write `imported: [{listed}]` into {experiment}, then {stage('fuse --report', experiment)}"
        )
    return EXIT_OK


@app.command("export")
def export_posteriors(
    name: Annotated[str, typer.Argument(help="The source.")],
    form: Annotated[Form, typer.Option("--format", help="What to write.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write into.")],
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
) -> int:
    """Write a source's posteriors for other tools."""
    workspace = load(experiment)
    path = _known(workspace, name)
    written = export(posteriors.read(path), form.value, out)
    say(f"wrote {', '.join(relative_to_cwd(p) for p in written)}")
    return EXIT_OK


def _read(path: Path, form: str, key: str | None, rename: dict[str, str], protocol: Protocol) -> Foreign:
    if form == "csv":
        return read_csv(path, protocol.classes, protocol.label, key, rename)
    if key is not None:
        raise ConfigError(f"--key is for --format csv; {form} has its own")
    return DIALECTS[form](path)


def _known(workspace: Workspace, name: str) -> Path:
    path = workspace.folder / "posteriors" / f"{name}.parquet"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.parquet"))) or "none"
        raise ConfigError(f"no posteriors called {name!r}; there are: {there}")
    return path


def _pairs(settings: list[str] | tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        theirs, equals, ours = setting.partition("=")
        if not equals or not theirs or not ours:
            raise ConfigError(f"--rename {setting}: expected THEIRS=OURS, as in --rename Fear=fearful")
        pairs[theirs] = ours
    return pairs


if __name__ == "__main__":
    run(app)
