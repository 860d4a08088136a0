"""`python -m pipeline.init`: read a corpus, write `manifest.csv` and `experiment.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from manifests import CORPORA, Corpus
from pipeline import recipes
from pipeline.beginning import begin
from pipeline.cli import DEFAULT_EXPERIMENT, EXIT_OK, SetOption, relative_to_cwd, run, say, stage
from pipeline.options import ConfigError, build

app = typer.Typer(add_completion=False)


@app.command()
def init(
    corpus: Annotated[str, typer.Option(help=f"The kind of corpus: {', '.join(CORPORA)}.")],
    root: Annotated[
        Path, typer.Option(help="The folder that the corpus lies in, or its zip or tar archive.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"The experiment to begin with: {', '.join(recipes.names())}. "
            "Default: voice, or voice-values for attributes."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to work; made if absent.")] = Path(),
    experiment: Annotated[str, typer.Option(help="Name of the experiment file.")] = DEFAULT_EXPERIMENT.name,
    table: Annotated[Path | None, typer.Option(help="Corpus 'table': the CSV file.")] = None,
    path_column: Annotated[str | None, typer.Option(help="Corpus 'table': the media path.")] = None,
    subject_column: Annotated[str | None, typer.Option(help="Corpus 'table': the subject.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Corpus 'table': the label.")] = None,
    attribute_columns: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Corpus 'table': values to predict in place of a label."),
    ] = None,
    clip_id_column: Annotated[str | None, typer.Option(help="Corpus 'table': the clip's id.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Corpora 'crema_d' and 'msp_improv': a published label file, or the folder of all."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
    overrides: SetOption = None,
) -> int:
    """Read a corpus and write its manifest and an experiment."""
    columns = {
        "path": path_column,
        "subject": subject_column,
        "label": label_column,
        "clip_id": clip_id_column,
    }
    options: dict[str, Any] = {
        k: v for k, v in {"table": table, **columns, "labels": labels}.items() if v is not None
    }
    if attribute_columns is not None:
        options["attributes"] = [name.strip() for name in attribute_columns.split(",")]
    if Path(experiment).name != experiment:
        raise ConfigError(f"--experiment {experiment}: expected a file name; --out says where it goes")
    reader: Corpus = build(CORPORA, corpus, options, f"--corpus {corpus}", Path.cwd())
    document = begin(reader, corpus, root, recipe, out / experiment, overrides or (), force=force)
    say(f"next: {_next(out, experiment, document)}")
    return EXIT_OK


def _next(out: Path, experiment: str, document: Mapping[str, Any]) -> str:
    folder = relative_to_cwd(out)
    change = "" if folder == "." else f"cd {folder} && "
    if document.get("finetune"):
        return change + stage("finetune audio", Path(experiment))
    if document.get("features"):
        return change + stage("extract all", Path(experiment))
    name = next(iter(document.get("imported", ())), "NAME")
    return change + stage(f"posteriors import PATH --format FORMAT --name {name}", Path(experiment))


if __name__ == "__main__":
    run(app)
