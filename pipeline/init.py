"""`python -m pipeline.init`: read a corpus, write `manifest.csv` and `experiment.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from affectstack import AffectstackError
from extractors.contract import DecodeError
from extractors.media import duration
from manifests import CORPORA, Corpus, Manifest
from manifests.archive import folder_beside, is_archive, unpack
from manifests.archive_members import size_text
from pipeline import recipes
from pipeline.cli import DEFAULT_EXPERIMENT, EXIT_OK, SetOption, relative_to_cwd, run, say, stage
from pipeline.experiment import dump, override, parse
from pipeline.files import publish
from pipeline.options import ConfigError, build
from pipeline.workspace import Workspace

app = typer.Typer(add_completion=False)


@app.command()
def init(
    corpus: Annotated[str, typer.Option(help=f"The kind of corpus: {', '.join(CORPORA)}.")],
    root: Annotated[
        Path, typer.Option(help="The folder that the corpus lies in, or its zip or tar archive.")
    ],
    recipe: Annotated[
        str, typer.Option(help=f"The experiment to begin with: {', '.join(recipes.names())}.")
    ] = ("voice"),
    out: Annotated[Path, typer.Option(help="Where to work; made if absent.")] = Path(),
    experiment: Annotated[str, typer.Option(help="Name of the experiment file.")] = DEFAULT_EXPERIMENT.name,
    table: Annotated[Path | None, typer.Option(help="Corpus 'table': the CSV file.")] = None,
    path_column: Annotated[str | None, typer.Option(help="Corpus 'table': the media path.")] = None,
    subject_column: Annotated[str | None, typer.Option(help="Corpus 'table': the subject.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Corpus 'table': the label.")] = None,
    clip_id_column: Annotated[str | None, typer.Option(help="Corpus 'table': the clip's id.")] = None,
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
    options = {k: v for k, v in {"table": table, **columns}.items() if v is not None}
    reader: Corpus = build(CORPORA, corpus, options, f"--corpus {corpus}", Path.cwd())
    root = _folder(root)
    reading = reader.read(root.resolve())
    for note in reading.notes:
        say(note)
    manifest = with_durations(reading.manifest.with_hashes(root), root)
    document: dict[str, Any] = {
        "manifest": "manifest.csv",
        "root": str(root.resolve()),
        "label": reading.label,
        "classes": list(reading.classes),
        "folds": reading.folds,
        **recipes.read(recipe),
    }
    if Path(experiment).name != experiment:
        raise ConfigError(f"--experiment {experiment}: expected a file name; --out says where it goes")
    document = override(document, overrides or ())
    parse(document, experiment)
    document = _with_paths_from_here(document)
    workspace = Workspace(parse(document, experiment), out.resolve(), out / experiment)
    folds = workspace.folds(manifest)
    workspace.classes(manifest)
    heading = f"# {corpus}, recipe {recipe}. The README explains every key.\n"
    _write(out / "manifest.csv", manifest, force=force)
    _publish_text(out / experiment, heading + dump(document), force=force)
    say(
        f"{len(manifest)} clips, {manifest.frame['subject'].nunique()} subjects, "
        f"{len(reading.classes)} classes, {len(folds)} folds ({folds.name})"
    )
    say(f"wrote {relative_to_cwd(out / 'manifest.csv')}, {relative_to_cwd(out / experiment)}")
    say(f"next: {_next(out, experiment, document)}")
    return EXIT_OK


def _folder(root: Path) -> Path:
    """Return the folder of the corpus, unpacking it first where it is given as an archive."""
    if is_archive(root):
        done = unpack(root, folder_beside(root))
        what = f"{done.files:,} files, {size_text(done.size)}, into {relative_to_cwd(done.folder)}"
        say(f"unpacked {what}{' before' if done.reused else ''}")
        return done.folder
    if not root.is_dir():
        raise ConfigError(f"--root {root}: no such folder")
    return root


def with_durations(manifest: Manifest, root: Path) -> Manifest:
    """Return a copy whose `duration` column says what the files' headers state, where they do."""
    media = manifest.frame[["video", "audio"]].to_dict("records")
    seconds = [_duration(root / path) if (path := row["video"] or row["audio"]) else None for row in media]
    return manifest.with_column("duration", seconds)


def _duration(path: Path) -> float | None:
    try:
        seconds = duration(path)
    except DecodeError:
        return None  # extraction will name the clip and say why
    return None if seconds is None else round(seconds, 3)


def _with_paths_from_here(document: dict[str, Any]) -> dict[str, Any]:
    """Make paths that were given relative to the current folder absolute, as the file moves away."""
    for feature in document.get("features", {}).values():
        for key in ("path", "csv_dir", "weights"):
            value = feature.get(key) if isinstance(feature, Mapping) else None
            if isinstance(value, str) and Path(value).exists():
                feature[key] = str(Path(value).resolve())
    return document


def _write(path: Path, manifest: Manifest, *, force: bool) -> None:
    text = manifest.frame.to_csv(index=False, lineterminator="\n")
    _publish_text(path, text, force=force)


def _publish_text(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and not force and path.read_text(encoding="utf-8") != text:
        raise AffectstackError(f"{path} exists and differs; give another --out, or --force to overwrite it")
    publish(path, text.encode())


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
