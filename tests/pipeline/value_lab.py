"""A small corpus without media whose clips have values, and whose features are real tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ATTRIBUTES = ("arousal", "valence")
SUBJECTS = tuple(f"s{i}" for i in range(6))
TAKES = 12
DOCUMENT: dict[str, Any] = {
    "manifest": "manifest.csv",
    "attributes": list(ATTRIBUTES),
    "folds": {"by": "subject", "k": 3, "seed": 0},
    "inner_folds": 2,
    "features": {
        "one": {"modality": "au", "extractor": "table", "path": "one.csv"},
        "two": {"modality": "audio", "extractor": "table", "path": "two.csv"},
    },
    "heads": {
        "one-ridge": {"features": "one", "head": "ridge-regression"},
        "two-ridge": {"features": "two", "head": "ridge-regression"},
    },
    "fusion": {"method": "linear"},
}


def write_corpus(folder: Path) -> pd.DataFrame:
    """Write a manifest and two feature tables, each of which knows one attribute better than the other."""
    rng = np.random.default_rng(0)
    count = len(SUBJECTS) * TAKES
    values = rng.uniform(1, 5, (count, 2)).round(2)
    frame = pd.DataFrame(
        {
            "clip_id": [f"{s}-{take:02d}" for s in SUBJECTS for take in range(TAKES)],
            "subject": np.repeat(SUBJECTS, TAKES),
            "arousal": values[:, 0],
            "valence": values[:, 1],
        }
    )
    frame.to_csv(folder / "manifest.csv", index=False)
    for name, noise in (("one", (0.6, 1.6)), ("two", (1.6, 0.6))):
        seen = values + rng.normal(size=values.shape) * noise
        table = pd.DataFrame(np.hstack([seen, rng.normal(size=(count, 2))]), columns=list("abcd"))
        table.insert(0, "clip_id", frame["clip_id"])
        table.to_csv(folder / f"{name}.csv", index=False)
    return frame
