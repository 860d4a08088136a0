"""A small corpus of two sequences per clip, of which some clips lack one, and heads that read both."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CLASSES = ("angry", "happy")
SUBJECTS = tuple(f"s{i}" for i in range(8))
WITHOUT_FACE = ("s0-angry-0", "s3-happy-1")
TABLE = {"extractor": "table", "start": "start", "end": "end"}
SMALL = {"width": 8, "bottleneck": 4, "heads": 1, "layers": 1, "shared_layers": 1, "kernel": 3, "batch": 8}
DOCUMENT: dict[str, Any] = {
    "manifest": "manifest.csv",
    "label": "emotion",
    "classes": list(CLASSES),
    "folds": {"by": "subject", "k": 2, "seed": 0},
    "inner_folds": 2,
    "features": {
        "voice": {"modality": "audio", "path": "voice.csv", "columns": ["a", "b", "c"], **TABLE},
        "face": {"modality": "face", "path": "face.csv", "columns": ["x", "y"], **TABLE},
    },
    "heads": {
        "ia": {"features": ["voice", "face"], "head": "self-attention", "max_epochs": 2, "milestones": []},
        "both": {
            "features": ["voice", "face"], "head": "versatile", "max_epochs": 2, "lr": 0.01, "parts": 2,
            **SMALL,
        },
    },
    "fusion": {"method": "product"},
}  # fmt: skip


def write_sequences(folder: Path) -> None:
    """Write a manifest, ten rows of voice a second for 1.5 to 2.4 s, and five of face."""
    rng = np.random.default_rng(0)
    clips = [
        {"clip_id": f"{s}-{label}-{take}", "subject": s, "emotion": label}
        for s in SUBJECTS
        for label in CLASSES
        for take in range(2)
    ]
    pd.DataFrame(clips).to_csv(folder / "manifest.csv", index=False)
    for name, columns, rate in (("voice", "abc", 10), ("face", "xy", 5)):
        parts = []
        for clip in clips:
            if name == "face" and clip["clip_id"] in WITHOUT_FACE:
                continue
            rows = int(rng.integers(15, 25)) * rate // 10
            values = rng.normal(size=(rows, len(columns))) + 2.0 * CLASSES.index(clip["emotion"])
            part = pd.DataFrame(values, columns=list(columns))
            part["clip_id"], part["start"] = clip["clip_id"], np.arange(rows) / rate
            part["end"] = part["start"] + 1 / rate
            parts.append(part)
        pd.concat(parts).to_csv(folder / f"{name}.csv", index=False)
