"""`python -m pipeline.store {ls,verify,export,contact-sheet,gc}`: look after feature stores."""

from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    EXIT_SOME_FAILED,
    ExperimentOption,
    complain,
    relative_to_cwd,
    run,
    say,
    stage,
)
from pipeline.experiment import load
from pipeline.progress import Meter
from pipeline.store import maintenance
from pipeline.store.contact_sheet import require_pictures, write_contact_sheets
from pipeline.store.export import FORMATS, Source, export
from pipeline.store.indexes import features_folder, known_index, read_indexes, require_known, uses
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Look after feature stores.")
Format = StrEnum("Format", {name: name for name in FORMATS})  # type: ignore[misc]  # made from a table


@app.command("ls")
def list_stores(experiment: ExperimentOption = DEFAULT_EXPERIMENT) -> int:
    """List every store below features/, and which features use it."""
    workspace = load(experiment)
    using = uses(workspace, read_indexes(workspace))
    lines: list[tuple[str, ...]] = [("features", "store", "clips", "rows", "D", "failed", "silent", "MB", "")]
    for found in maintenance.contents(features_folder(workspace), using):
        numbers = (found.clips, found.rows, found.dim or "?", found.failed, found.silent)
        lines.append(
            (
                ", ".join(found.features) or "unused",
                found.folder.as_posix(),
                *map(str, numbers),
                f"{found.bytes / 1e6:.1f}",
                "UNTRAINED" if found.untrained else "",
            )
        )
    for line in _aligned(lines):
        say(line)
    return EXIT_OK


@app.command("verify")
def verify_stores(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Features; all.")] = None,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
) -> int:
    """Read every byte of features and say what is damaged. Exit code 2 if anything is."""
    workspace = load(experiment)
    indexes = read_indexes(workspace)
    require_known(names or (), indexes)
    chosen = [u for u in uses(workspace, indexes) if not names or u.feature in names]
    problems, size = [], 0
    with Meter("  verify", sum(len(u.shards) for u in chosen), "shards") as meter:

        def on_shard(length: int) -> None:
            nonlocal size
            size += length
            meter.add(1)

        for use in chosen:
            problems += maintenance.verify(use, on_shard)
    for problem in problems:
        complain(problem)
    say(f"verified {meter.done} shards, {size / 1e9:.3f} GB, {len(problems)} problems")
    return EXIT_SOME_FAILED if problems else EXIT_OK


@app.command("export")
def export_feature(
    name: Annotated[str, typer.Argument(help="The feature.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    fps: Annotated[
        float, typer.Option(min=0.001, help="Frame rate in which actionformer's feat_stride is counted.")
    ] = 30.0,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
) -> int:
    """Write a feature in the form of another tool."""
    source = _source(load(experiment), name, fps)
    if source.untrained:
        say(f"{name}: UNTRAINED, its extractor has random weights")
    written = export(source, form.value, out, force=force)
    left_out = f", {source.failed} failed clips are not in it" if source.failed else ""
    say(f"wrote {relative_to_cwd(written)}: {len(source.store)} clips as {form.value}{left_out}")
    return EXIT_OK


@app.command("contact-sheet")
def contact_sheet(
    name: Annotated[str, typer.Argument(help="The feature that holds faces.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")] = Path("contact-sheets"),
    frames: Annotated[int, typer.Option(min=1, max=1000, help="Frames of a subject.")] = 60,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
) -> int:
    """Write a page for every subject with the faces that were found, and the frames without one."""
    workspace = load(experiment)
    store = _source(workspace, name, fps=1.0).store
    require_pictures(store, name)
    subjects = {str(clip): str(subject) for clip, subject in workspace.manifest().subjects().items()}
    sheets = list(write_contact_sheets(store, subjects, out, frames))
    say(f"wrote {len(sheets)} sheets to {relative_to_cwd(out)}: {', '.join(p.name for p in sheets[:5])}")
    return EXIT_OK


@app.command("gc")
def collect_garbage(
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; otherwise it is only listed.")] = False,
    days: Annotated[
        float, typer.Option(min=0, help="Leave what was touched in so many days: an extraction may run.")
    ] = 1.0,
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
) -> int:
    """List, or delete, what no feature uses, and sound that was decoded for fine-tuning."""
    workspace = load(experiment)
    using = uses(workspace, read_indexes(workspace))
    unused = maintenance.garbage(features_folder(workspace), using, days)
    size = 0
    for item in chain(unused, maintenance.decoded_sound(workspace.folder, days)):
        size += item.bytes
        if delete:
            item.delete()
        say(f"{relative_to_cwd(item.path)}: {item.why}, {item.bytes / 1e6:.1f} MB")
    if delete:
        say(f"deleted {size / 1e6:.1f} MB")
    elif size:
        say(f"{size / 1e6:.1f} MB in all; delete with: {stage('store gc --delete', experiment)}")
    else:
        say("nothing to delete")
    return EXIT_OK


def _source(workspace: Workspace, name: str, fps: float) -> Source:
    index = known_index(workspace, name)
    store = index.open(workspace)
    return Source(
        name, store, index.folder, index.identity, index.identity_sha256, index.untrained, index.failed, fps
    )


def _aligned(lines: list[tuple[str, ...]]) -> list[str]:
    """Return a table as text: words to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            word.rjust(width) if 2 <= i <= 7 else word.ljust(width)
            for i, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


if __name__ == "__main__":
    run(app)
