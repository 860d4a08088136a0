"""`python -m pipeline.predict FILE…`: posteriors or values of new clips, by the experiment's own models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    EXIT_SOME_FAILED,
    ExperimentOption,
    SetOption,
    WorkersOption,
    complain,
    relative_to_cwd,
    run,
    say,
)
from pipeline.files import publish
from pipeline.predicting.prediction import Prediction, Refusal, likeliest
from pipeline.predicting.predictor import Predictor
from pipeline.predicting.timeline import free_name, plot, printable, table

app = typer.Typer(add_completion=False)


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Video or sound files.")],
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON list; the notes are in it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the timeline of every file there, as CSV and SVG.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            help="Seconds of the windows that files are cut into; default: long ones, as the corpus' clips."
        ),
    ] = None,
    hop: Annotated[
        float | None, typer.Option(help="Seconds from one window to the next; default: half of one.")
    ] = None,
    one_speaker: Annotated[
        bool, typer.Option("--one-speaker", help="The same speaker, and no other, is in all files.")
    ] = False,
    workers: WorkersOption = None,
    overrides: SetOption = None,
) -> int:
    """Say what the experiment's models make of new clips; exit code 2 if they can make nothing of one."""
    told: list[dict[str, object]] = []
    written: list[str] = []
    failed = 0
    with Predictor(experiment, overrides or (), workers=workers) as predictor:
        for result in predictor.predict_all(files, window=window, hop=hop, one_speaker=one_speaker):
            told.append(result.as_json())
            if isinstance(result, Refusal):
                failed += 1
                complain(printable(str(result)))
                continue
            lines = list(_lines(result))
            if out is not None:
                name = free_name(result.path, written)
                written.append(name)
                told[-1] |= _write(result, out / name)
                lines.append(f"  timeline: {told[-1]['csv']}, {told[-1]['svg']}")
            notes = [note for note in result.notes if note != predictor.note]
            if not as_json:
                for line in [*lines, *(f"  note: {note}" for note in notes)]:
                    say(printable(line))
    if as_json:
        say(json.dumps(told, indent=1))
    elif failed < len(files):
        say(f"note: {predictor.note}")
    if written and out is not None:
        typer.echo(f"wrote the timelines to {relative_to_cwd(out)}", err=as_json)
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _write(result: Prediction, stem: Path) -> dict[str, str]:
    """Write the timeline of a recording; return where it is."""
    files = {"csv": Path(f"{stem}.csv"), "svg": Path(f"{stem}.svg")}
    publish(files["csv"], table(result, result.path.name))
    publish(files["svg"], plot(result, result.path.name))
    return {kind: relative_to_cwd(file) for kind, file in files.items()}


def _lines(result: Prediction) -> Iterator[str]:
    """Yield what a person wants to read."""
    windows = len(result.timeline)
    cut = f", {windows} windows" if windows > 1 else ""
    told = _values if result.of_values else _top
    yield f"{result.path.name}: {told(result.posteriors)} ({result.seconds:.1f} s{cut})"
    if not result.of_values:
        ranked = sorted(result.posteriors.items(), key=lambda item: -item[1])
        yield "  " + ", ".join(f"{name} {share:.1%}" for name, share in ranked)
    for source in result.sources:
        modalities = f" ({', '.join(source.modalities)})" if source.modalities else ""
        if source.posteriors is None:
            yield f"  not used: {source.name}{modalities}: {source.reason}"
            continue
        part = f" in {source.windows} of {windows} windows; else: {source.reason}" if source.reason else ""
        yield f"  used: {source.name}{modalities}: {told(source.posteriors)}{part}"
    if windows > 1:
        for piece in result.timeline:
            what = told(piece.posteriors) if piece.posteriors else "nothing"
            yield f"  {piece.start:8.2f} – {piece.end:.2f} s  {what}"


def _top(posteriors: dict[str, float]) -> str:
    top = likeliest(posteriors)
    return f"{top} {posteriors[top]:.1%}"


def _values(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


if __name__ == "__main__":
    run(app)
