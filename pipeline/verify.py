"""`python -m pipeline.verify --against {golden,mmer} --data DIR`: published figures from published files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import EXIT_OK, EXIT_USAGE, WorkersOption, complain, run, say, workers_or_cores
from pipeline.references import REFERENCES

app = typer.Typer(add_completion=False)
Reference = StrEnum("Reference", {name: name for name in REFERENCES})  # type: ignore[misc]  # made from a table


@app.command()
def verify(
    against: Annotated[Reference, typer.Option("--against", help="Which publication, or golden vectors.")],
    data: Annotated[Path, typer.Option("--data", help="The folder of its published files.")],
    workers: WorkersOption = None,
) -> int:
    """Print a line per figure: name, ours, reference, pass or FAIL. Exit code 0 only if all pass."""
    failed = count = 0
    for figure in REFERENCES[against.value](data, workers_or_cores(workers)):
        if isinstance(figure, str):
            say(figure)
            continue
        count += 1
        failed += not figure.passes
        verdict = "pass" if figure.passes else "FAIL"
        say(f"{figure.name:<44} {_number(figure.ours)} {_number(figure.reference)} {verdict}")
    if failed:
        complain(f"{failed} of {count} figures differ from the reference")
        return EXIT_USAGE
    say(f"all {count} figures agree")
    return EXIT_OK


def _number(value: float) -> str:
    """Return a figure in nine places: small ones, such as differences, by their size."""
    return f"{value:>9.1e}" if 0 < abs(value) < 1e-3 else f"{value:>9.4f}"


if __name__ == "__main__":
    run(app)
