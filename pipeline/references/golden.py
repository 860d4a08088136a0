"""Golden vectors: what networks give in their own authors' code, one folder each.

Folders are told apart by the files in them: see `golden_clips`, `golden_faces` and `golden_fusions`.
"""

from collections.abc import Iterator
from pathlib import Path

from affectstack import AffectstackError
from pipeline.references import golden_clips, golden_faces, golden_fusions
from pipeline.references.figure import Figure


def figures(data: Path, workers: int) -> Iterator[Figure | str]:
    """Yield how far each network is from its golden vector, for every folder in `data/golden`.

    Raises:
        AffectstackError: If there is none.
    """
    place = data / "golden"
    folders = sorted(f for f in place.iterdir() if f.is_dir()) if place.is_dir() else []
    if not folders:
        files = ", ".join(golden_clips.FILES)
        raise AffectstackError(f"no folders in {place}; expected one per network, with {files}")
    for folder in folders:
        yield from _of_folder(folder)


def _of_folder(folder: Path) -> Iterator[Figure | str]:
    for kind in (golden_clips, golden_faces):
        if all((folder / name).is_file() for name in kind.FILES):
            return kind.figures(folder)
    if any(folder.glob(golden_fusions.PATTERN)):
        return golden_fusions.figures(folder)
    missing = ", ".join(n for n in golden_clips.FILES if not (folder / n).is_file())
    return iter([f"{folder.name}: not of a clip network (no {missing}), nor another known kind; left out"])
