"""`python -m pipeline.duplicates`: clips that are one file, or carry one sound."""

from collections.abc import Iterator
from typing import Annotated

import typer

from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    EXIT_SOME_FAILED,
    ExperimentOption,
    SetOption,
    WorkersOption,
    run,
    say,
)
from pipeline.duplicates import Duplicates, find_duplicates
from pipeline.experiment import load
from pipeline.report.tables import Form, Table, write

app = typer.Typer(add_completion=False)
_SHOWN = 5
_REMEDY = "Give both rows one subject in the manifest, or remove one of them; then train again"


@app.command()
def duplicates(
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    form: Annotated[Form, typer.Option("--format", help="What the table is written as.")] = Form.TEXT,
    workers: WorkersOption = None,
    overrides: SetOption = None,
) -> int:
    """Find clips that are one recording. Exit code 2 if two subjects share one, or a clip is unreadable.

    Of every clip the first 120 seconds are heard.
    """
    found = find_duplicates(load(experiment, overrides or ()), workers, tell=form is Form.TEXT)
    if found.pairs or form is not Form.TEXT:
        say(write([_table(found)], form).rstrip("\n"))
    else:
        say(f"no clip is a copy of another; {_looked_at(found)}")
    if form is Form.TEXT:
        for line in _conclusions(found):
            say(line)
    return EXIT_SOME_FAILED if found.across or found.unread else EXIT_OK


def _table(found: Duplicates) -> Table:
    """Return the pairs as a table."""
    return Table(
        "Clips that are one recording",
        ["clip", "the same as", "what is equal", "alike, %", "subjects", "trained and tested in fold"],
        [
            [
                pair.first,
                pair.second,
                pair.kind.removeprefix("same "),
                f"{100 * pair.similarity:.1f}",
                " and ".join(dict.fromkeys(pair.subjects)),
                ", ".join(map(str, pair.folds)) or "–",
            ]
            for pair in found.pairs
        ],
        f"{_looked_at(found)}.",
        frozenset(i for i, pair in enumerate(found.pairs) if pair.across),
    )


def _looked_at(found: Duplicates) -> str:
    """Return how much was compared, in a sentence."""
    if found.reason:
        return f"no sound was compared ({found.reason}), files by their sha256"
    left = f", {found.short} too short or silent" if found.short else ""
    left += f", {found.without_sound} without sound" if found.without_sound else ""
    left += f", {len(found.unread)} unreadable" if found.unread else ""
    heard = f"{found.looked_at} of {found.clips} clips compared by the sound of their first 120 s"
    return f"{heard}{left}; all by their sha256"


def _conclusions(found: Duplicates) -> Iterator[str]:
    """Yield what could not be read, and what the pairs mean."""
    for clip, problem in list(found.unread.items())[:_SHOWN]:
        yield f"  not read: {clip}: {problem}"
    if len(found.unread) > _SHOWN:
        yield f"  … and {len(found.unread) - _SHOWN} more"
    if within := found.within:
        yield (
            f"pairs of one subject: {len(within)}. No leak, but a recording counts twice; remove one of its "
            "two rows from the manifest to count it once"
        )
    if leaking := found.leaking:
        numbers = sorted({fold for pair in leaking for fold in pair.folds})
        yield (
            f"pairs of two subjects: {len(leaking)}. A LEAK: folds that train on one copy and test on the "
            f"other: {', '.join(map(str, numbers))}. {_REMEDY}"
        )
    if apart := [pair for pair in found.across if not pair.folds]:
        why = (
            f"The folds of this experiment ({found.split}) keep their copies on one side"
            if found.split
            else "No folds can be made here yet"
        )
        yield f"pairs of two subjects: {len(apart)}. {why}; other folds would leak. {_REMEDY}"


if __name__ == "__main__":
    run(app)
