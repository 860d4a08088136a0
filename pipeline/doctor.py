"""`python -m pipeline.doctor`: what an experiment lacks on this machine, and how to mend it."""

from enum import StrEnum
from typing import Annotated

import typer

from pipeline import checks
from pipeline.checks import Line
from pipeline.cli import DEFAULT_EXPERIMENT, EXIT_OK, EXIT_SOME_FAILED, ExperimentOption, run, say

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
    missing = sum(map(_say, checks.software()))
    if not missing:  # or there may be no way to look further
        from pipeline.equipment import equipment

        file = experiment if experiment != DEFAULT_EXPERIMENT or experiment.is_file() else None
        permissive = licence is Licence.PERMISSIVE
        found = equipment(file, experiment.resolve().parent, permissive=permissive, hub=hub)
        missing = sum(map(_say, found))
    say(f"missing in all: {missing}" if missing else "nothing is missing")
    return EXIT_SOME_FAILED if missing else EXIT_OK


def _say(line: Line) -> bool:
    say(str(line))
    return line.state == "missing"


if __name__ == "__main__":
    run(app)
