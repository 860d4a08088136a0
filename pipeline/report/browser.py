"""The error browser: what every system thinks of every test clip, as data for the page."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from manifests import Manifest
from pipeline.evaluation import Run

_SCALE = 1000  # posteriors are whole numbers of thousandths, which keeps the page small
_PLAYABLE = ("video", "audio")


def clips(run: Run, media: Mapping[str, str]) -> dict[str, Any]:
    """Return every test clip, the worst confusions first.

    Args:
        run: What was fused.
        media: Where a clip can be heard or seen, by clip id.

    Returns:
        `classes`; `systems`, the fusion first; `clips`, each with its id, its class, what the fusion
        decided, its subject, its fold, its media or null, and one posterior per system, in thousandths by
        class, or null.
    """
    rows = []
    for k, fold in enumerate(run.folds):
        for i, clip in enumerate(fold.clip_ids):
            truth = run.classes.index(str(run.protocol.labels.at[clip]))
            fused = fold.fused[i]
            posteriors = [_thousandths(p) for p in (fused, *fold.sources[i])]
            decided, subject = int(fused.argmax()), str(run.protocol.subjects.at[clip])
            row = [clip, truth, decided, subject, k, media.get(clip), posteriors]
            rows.append((float(fused.max() - fused[truth]), row))
    rows.sort(key=lambda entry: -entry[0])
    return {
        "classes": list(run.classes),
        "systems": [run.fused_name, *run.sources],
        "clips": [row for _, row in rows],
    }


def media_links(manifest: Manifest, root: Path, page: Path) -> dict[str, str]:
    """Return the address of each clip's media, relative to the folder of a page, where there are any.

    Args:
        manifest: The clips.
        root: The corpus root.
        page: The folder that the page lies in.
    """
    found: dict[str, str] = {}
    for row in manifest.frame.to_dict("records"):
        paths = [root / row[column] for column in _PLAYABLE if row[column]]
        path = next(filter(os.path.isfile, paths), None)  # what cannot be asked for is not there
        if path is not None and row["clip_id"] not in found:
            found[row["clip_id"]] = quote(os.path.relpath(path, page).replace(os.sep, "/")) + _part(row)
    return found


def _part(row: Mapping[Any, Any]) -> str:
    """Return the fragment of an address that plays a part of a file."""
    start, end = row["start"], row["end"]
    if np.isnan(start) and np.isnan(end):
        return ""
    return f"#t={'' if np.isnan(start) else f'{start:.3f}'}" + ("" if np.isnan(end) else f",{end:.3f}")


def _thousandths(posterior: NDArray[np.float64]) -> list[int] | None:
    return None if np.isnan(posterior[0]) else np.round(_SCALE * posterior).astype(int).tolist()
