"""A folder of recordings, of which nothing is known: enough to make features of them."""

import os
from pathlib import Path

import pandas as pd

from manifests.corpus import MEDIA_SUFFIXES, Corpus, Reading
from manifests.ids import ids_of
from manifests.manifest import Manifest, ManifestError
from manifests.paths import path_problem

UNKNOWN = "unknown"


class Folder(Corpus):
    """Every video and sound file below a folder is a clip, of an unknown subject and without a label.

    Heads are trained once `manifest.csv` has a column of labels and its subjects are told apart.
    """

    def read(self, root: Path) -> Reading:
        """List the files below `root`, in an order that does not depend on the file system."""
        if not root.is_dir():
            raise ManifestError(f"{root}: no such folder")
        found, other, wrong = [], 0, 0
        for place, _, names in os.walk(root):
            for name in names:
                path = Path(place, name).relative_to(root).as_posix()
                if MEDIA_SUFFIXES.get(Path(name).suffix.lower()) not in ("video", "audio"):
                    other += 1
                elif path_problem(path):
                    wrong += 1
                else:
                    found.append(path)
        if not found:
            kinds = " ".join(s for s, kind in MEDIA_SUFFIXES.items() if kind != "text")
            raise ManifestError(f"{root}: no video and no sound in it (files that end with {kinds})")
        ids = ids_of(found)
        rows = [
            {"clip_id": ids[path], "subject": UNKNOWN, MEDIA_SUFFIXES[Path(path).suffix.lower()]: path}
            for path in sorted(found)
        ]
        notes = [f"left out files of other kinds: {other}"] if other else []
        notes += [f"left out files whose path cannot stand in a manifest: {wrong}"] if wrong else []
        frame = pd.DataFrame(rows).fillna("")
        return Reading(Manifest(frame, source=root.name, root=root), "", (), {}, notes)
