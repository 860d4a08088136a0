"""`python -m pipeline.demo`: the whole road on a corpus that it synthesises, with no download."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import EXIT_OK, WorkersOption, complain, relative_to_cwd, run, say, workers_or_cores
from pipeline.synthesis import write_corpus

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to work; made if absent.")] = Path("demo"),
    actors: Annotated[int, typer.Option(min=5, max=24, help="Speakers, 16 clips each.")] = 8,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    workers: WorkersOption = None,
) -> int:
    """Synthesise a small corpus, run the three stages on it, and say where the report is."""
    began = time.monotonic()
    cores = workers_or_cores(workers)
    say(f"making a synthetic corpus in {relative_to_cwd(out / 'corpus')}")
    clips = write_corpus(out / "corpus", actors=actors, seed=seed, workers=cores)
    say(f"  {clips} clips of drawn faces with synthesised voices, {time.monotonic() - began:.0f} s")
    stages = [
        ["pipeline.init", "--corpus", "ravdess", "--root", "corpus", "--recipe", "demo", "--force"],
        ["pipeline.extract", "all", "--workers", str(cores)],
        ["pipeline.train_heads", "--workers", str(cores)],
        ["pipeline.fuse", "--report"],
    ]
    for stage in stages:
        say(f"\n$ python -m {' '.join(stage)}")
        code = subprocess.run([sys.executable, "-m", *stage], cwd=out, check=False).returncode  # noqa: S603
        if code != EXIT_OK:
            complain(f"python -m {stage[0]} ended with exit code {code}")
            return code
    say(f"\nthe whole road took {time.monotonic() - began:.0f} s")
    say(f"report: {relative_to_cwd(out / 'reports' / 'latest' / 'report.html')}")
    return EXIT_OK


if __name__ == "__main__":
    run(app)
