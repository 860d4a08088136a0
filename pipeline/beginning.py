"""Beginning an experiment: a corpus and a recipe become `manifest.csv` and an experiment file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affectstack import AffectstackError
from extractors.contract import DecodeError
from extractors.media import duration
from manifests import Corpus, Manifest
from manifests.archive import folder_beside, is_archive, unpack
from manifests.archive_members import size_text
from manifests.corpus import Reading
from pipeline import recipes
from pipeline.cli import relative_to_cwd, say
from pipeline.experiment import dump, override, parse
from pipeline.files import publish
from pipeline.options import ConfigError
from pipeline.workspace import Workspace


def begin(
    reader: Corpus,
    corpus: str,
    root: Path,
    recipe: str | None,
    file: Path,
    overrides: Sequence[str],
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Read a corpus; write its manifest and an experiment, and say so.

    Args:
        reader: Reads the corpus.
        corpus: What it is called.
        root: Its folder, or its archive.
        recipe: The experiment to begin with; None is `voice`, or `voice-values` of a corpus of attributes.
        file: The experiment file; the manifest goes beside it.
        overrides: `key=value` settings.
        force: Overwrite files that differ.

    Returns:
        The experiment.
    """
    root = _folder(root)
    reading = reader.read(root.resolve())
    for note in reading.notes:
        say(note)
    recipe = recipe or ("voice-values" if reading.attributes else "voice")
    manifest = with_durations(reading.manifest.with_hashes(root), root)
    document = override({**described(reading, root), **recipes.read(recipe)}, overrides)
    parse(document, file.name)
    document = _with_paths_from_here(document)
    workspace = Workspace(parse(document, file.name), file.parent.resolve(), file)
    counted = f"{len(manifest)} clips"
    if reading.classes or reading.attributes:
        folds = workspace.folds(manifest)
        workspace.classes(manifest)
        counted += f", {manifest.frame['subject'].nunique()} subjects, {_labels(reading)}"
        counted += f", {len(folds)} fold{'' if len(folds) == 1 else 's'} ({folds.name})"
    heading = f"# {corpus}, recipe {recipe}. The README explains every key.\n"
    manifest_file = file.with_name("manifest.csv")
    _write(manifest_file, manifest, force=force)
    _publish_text(file, heading + dump(document), force=force)
    say(counted)
    say(f"wrote {relative_to_cwd(manifest_file)}, {relative_to_cwd(file)}")
    return document


def described(reading: Reading, root: Path) -> dict[str, Any]:
    """Return what an experiment says of a corpus: where it lies, its labels and the folds it is scored on."""
    document: dict[str, Any] = {"manifest": "manifest.csv", "root": str(root.resolve())}
    if reading.attributes:
        document |= {"attributes": list(reading.attributes), "folds": reading.folds}
    elif reading.classes:
        document |= {"label": reading.label, "classes": list(reading.classes), "folds": reading.folds}
    return document


def _labels(reading: Reading) -> str:
    return ", ".join(reading.attributes) if reading.attributes else f"{len(reading.classes)} classes"


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
        for key in ("path", "csv_dir", "weights", "config"):
            value = feature.get(key) if isinstance(feature, Mapping) else None
            if isinstance(value, list):
                feature[key] = [_from_here(item) for item in value]
            elif value is not None:
                feature[key] = _from_here(value)
    return document


def _from_here(value: Any) -> Any:
    return str(Path(value).resolve()) if isinstance(value, str) and Path(value).exists() else value


def _write(path: Path, manifest: Manifest, *, force: bool) -> None:
    text = manifest.frame.to_csv(index=False, lineterminator="\n")
    _publish_text(path, text, force=force)


def _publish_text(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and not force and path.read_text(encoding="utf-8") != text:
        raise AffectstackError(f"{path} exists and differs; give another --out, or --force to overwrite it")
    publish(path, text.encode())
