"""The media files of a corpus, gathered into takes by their names."""

import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from manifests.corpus import MEDIA_SUFFIXES
from manifests.manifest import MEDIA_COLUMNS, ManifestError
from manifests.paths import path_problem

Place = Callable[[Path], tuple[str, str] | str]


@dataclass
class Takes:
    """Takes by clip id.

    Attributes:
        files: Of each take, its paths relative to the root by the kind of file.
        left_out: How many files were left out, by reason.
    """

    files: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """Say what was left out and why."""
        return [f"left out {reason}: {n}" for reason, n in sorted(self.left_out.items())]

    def none(self, place: Path, expected: str) -> ManifestError:
        """Return the error of a place without what was expected; it says what was left out instead."""
        reasons = ", ".join(f"{reason}: {n}" for reason, n in sorted(self.left_out.items()))
        return ManifestError(f"{place}: no {expected}" + (f"; left out {reasons}" if reasons else ""))

    def labelled(self, labels: Collection[str]) -> list[str]:
        """Return the clips that have labels, in order; count those without, and labels without a clip."""
        for reason, clips in (
            ("clips without labels", set(self.files).difference(labels)),
            ("labels of clips that are not there", set(labels).difference(self.files)),
        ):
            if clips:
                self.left_out[reason] += len(clips)
        return sorted(set(self.files).intersection(labels))

    def media(self, clip: str) -> dict[str, str]:
        """Choose one file per medium of a take whose files are told apart by suffix; count the others.

        Returns:
            Paths by medium, empty where there is none; of several formats the one that `MEDIA_SUFFIXES`
            names first.
        """
        files = self.files[clip]
        chosen = dict.fromkeys(MEDIA_COLUMNS, "")
        for suffix, medium in MEDIA_SUFFIXES.items():
            chosen[medium] = chosen[medium] or files.get(suffix, "")
        if spare := len(files) - sum(map(bool, chosen.values())):
            self.left_out["other formats of a take"] += spare
        return chosen


def takes_below(root: Path, corpus: str, place: Place) -> Takes:
    """Gather the media files below a folder, in any layout of folders.

    Args:
        root: The folder.
        corpus: What an error calls the corpus.
        place: Says of a path which clip it belongs to and what kind of file of it it is, or why it is left
            out.

    Returns:
        The takes. Of two files of one kind the first by path is kept.

    Raises:
        ManifestError: If there is no such folder.
    """
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder; give the {corpus} root with --root")
    takes = Takes()
    for path in _media_files(root):
        relative = path.relative_to(root).as_posix()
        problem = path_problem(relative)
        found = f"files whose path {problem}" if problem else place(path)
        if not isinstance(found, str):
            clip, kind = found
            files = takes.files.setdefault(clip, {})
            if kind not in files:
                files[kind] = relative
                continue
            found = "second copies of a take"
        takes.left_out[found] += 1
    return takes


def _media_files(root: Path) -> list[Path]:
    """List media below `root` in an order that does not depend on the file system."""
    found = []
    for folder, _, names in os.walk(root):
        found += [Path(folder, n) for n in names if Path(n).suffix.lower() in MEDIA_SUFFIXES]
    return sorted(found, key=lambda p: p.relative_to(root).as_posix())
