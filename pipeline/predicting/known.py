"""Which clips of the corpus a file is, or holds."""

import filecmp
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from affectstack.hashing import file_sha256
from manifests import Manifest
from manifests.manifest import MEDIA_COLUMNS


@dataclass(frozen=True)
class KnownClip:
    """A clip of the corpus.

    Attributes:
        clip_id: Its id.
        subject: Its subject.
        piece: True if it is cut from its file by a start or an end.
    """

    clip_id: str
    subject: str
    piece: bool


class KnownFiles:
    """The corpus' files and the clips that are in each.

    Files that are there are compared themselves; of those that are gone only what the manifest says is known,
    which is the sha256 of clips of one file.

    Args:
        manifest: The clips.
        root: The corpus root.
    """

    def __init__(self, manifest: Manifest, root: Path) -> None:
        self._by_sha256: dict[str, list[KnownClip]] = defaultdict(list)
        self._by_file: dict[Path, list[KnownClip]] = defaultdict(list)
        columns = ["clip_id", "subject", "start", "end", "sha256", *MEDIA_COLUMNS]
        for clip_id, subject, start, end, sha256, *media in manifest.frame[columns].itertuples(index=False):
            clip = KnownClip(clip_id, subject, piece=pd.notna(start) or pd.notna(end))
            files = [root / name for name in media if name]
            for file in files:
                self._by_file[file].append(clip)
            if sha256 and len(files) < 2:
                self._by_sha256[sha256].append(clip)

    def clips(self, path: Path) -> list[KnownClip]:
        """Return the clips that are in a file, in the order of the manifest; none if it cannot be read."""
        try:
            size = path.stat().st_size
            found = list(self._by_sha256.get(file_sha256(path), ())) if self._by_sha256 else []
            for file in self._by_size.get(size, ()):
                if _same(file, path):
                    found += self._by_file[file]
        except OSError:
            return []
        return list(dict.fromkeys(found))

    @cached_property
    def _by_size(self) -> dict[int, list[Path]]:
        """The files that are there by their size in bytes; looked at when the first file is asked about."""
        sizes: dict[int, list[Path]] = defaultdict(list)
        for file in self._by_file:
            with suppress(OSError):  # it is gone
                sizes[file.stat().st_size].append(file)
        return dict(sizes)


def _same(file: Path, other: Path) -> bool:
    """Tell whether two files of one size are one, or hold the same."""
    try:
        return file.samefile(other) or filecmp.cmp(file, other, shallow=False)
    except OSError:
        return False
