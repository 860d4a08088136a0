"""What the commands have in common: exit codes, readable errors, shared options."""

import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated, cast

import typer

from affectstack import AffectstackError
from pipeline import history

ExperimentOption = Annotated[
    Path, typer.Option("--experiment", help="The experiment file.", show_default=True)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the experiment; repeatable."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")
]
DEFAULT_EXPERIMENT = Path("experiment.yaml")

# Typer raises its own copy of click's errors: BadParameter < UsageError < ClickException.
_CommandLineError = cast(
    type[Exception], next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
)

EXIT_OK, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_BUDGET, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 3, 130, 143


def run(app: typer.Typer) -> None:
    """Run a command and exit: 0 done, 1 usage or configuration, 2 and 3 failures, 130 and 143 by signals."""
    quieten()
    ended = _listen()
    watch = history.begin()
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
    except typer.Exit as request:
        code = request.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except _CommandLineError as error:
        complain(f"{error.format_message()} (see --help)")  # type: ignore[attr-defined]
        code = EXIT_USAGE
    except AffectstackError as error:
        complain(str(error))
        code = EXIT_USAGE
    if code == EXIT_INTERRUPTED:  # typer turns some interrupts into this code by itself
        code = EXIT_TERMINATED if ended.is_set() else code
        complain("interrupted; run the same command again to go on where it stopped")
    code = code if isinstance(code, int) else EXIT_OK
    watch.stop(code)
    sys.exit(code)


def _listen() -> threading.Event:
    """Let a request to end unwind the program as Ctrl-C does, so that nothing half-made stays."""
    ended = threading.Event()

    def end(number: int, frame: object) -> None:
        ended.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    return ended


def complain(message: str) -> None:
    """Print an error for a person to read."""
    typer.echo(f"error: {message}", err=True)


def say(message: str = "") -> None:
    """Print a line of output at once."""
    typer.echo(message)
    sys.stdout.flush()


def quieten() -> None:
    """Keep the libraries' own notices out of the output; ours are the ones a user can act on."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|transformers|sklearn)\b")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("libav").setLevel(logging.CRITICAL)


def workers_or_cores(workers: int | None) -> int:
    """Return the number of processes to use."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stage(command: str, experiment: Path) -> str:
    """Return a stage's command line as the user must type it for this experiment file."""
    named = "" if experiment == DEFAULT_EXPERIMENT else f" --experiment {experiment}"
    return f"python -m pipeline.{command}{named}"


def relative_to_cwd(path: Path) -> str:
    """Return a path as a user would type it from here."""
    try:
        relative = os.path.relpath(path)
    except ValueError:
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)
