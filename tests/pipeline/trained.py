"""A small corpus of drawn faces with tones for voices, and an experiment that was trained on it.

The pitch and the colour of the face are the class. Names of classes are what a page, a spreadsheet or a
terminal must not take for anything but text.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

sys.path.append(str(Path(__file__).parents[1] / "extractors"))
import clip_makers
import face_makers

from affectstack.hashing import file_sha256
from pipeline.extract import extract
from pipeline.fuse import fuse
from pipeline.train_heads import train_heads

CLASSES = ("=cmd()", "<script>document.title='wrong'</script>")
SUBJECTS = tuple(f"s{i}" for i in range(8))
RATE, SECONDS, FPS = 16000, 1.2, 5

EXPERIMENT: dict[str, Any] = {
    "manifest": "manifest.csv",
    "root": "media",
    "label": "emotion",
    "classes": list(CLASSES),
    "folds": {"by": "subject", "k": 2, "seed": 0},
    "inner_folds": 2,
    "features": {
        "voice": {"modality": "audio", "extractor": "opensmile", "feature_set": "eGeMAPSv02"},
        "mel": {"modality": "audio", "extractor": "logmel"},
        "faces": {"modality": "face", "extractor": "faces", "fps": FPS},
        "face": {"modality": "face", "extractor": "efficientface", "crops": "faces", "weights": "random"},
        "told": {"modality": "au", "extractor": "table", "path": "told.csv"},
    },
    "heads": {
        "voice-log": {"features": "voice", "head": "logistic"},
        "face-log": {"features": "face", "head": "logistic"},
        "both": {"features": ["voice", "face"], "head": "logistic"},
        "mel-net": {"features": "mel", "head": "bilstm", "hidden": 4, "max_epochs": 2},
        "joined": {
            "features": ["face", "mel"],
            "head": "concat",
            "hidden": [8],
            "channels": [4],
            "joined": 8,
            "max_epochs": 2,
        },
        "voice-sn": {"features": "voice", "head": "logistic", "speaker_norm": True},
        "told-log": {"features": "told", "head": "logistic"},
    },
    "fusion": {"method": "logpool"},
}


def sound(label: str, seconds: float, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a tone under noise; its pitch is the class."""
    rng = np.random.default_rng(seed)
    tone = clip_makers.tone(seconds, RATE, 180 if label == CLASSES[0] else 420, 0.3)
    return (tone + 0.02 * rng.normal(size=len(tone))).astype(np.float32)


def picture(label: str, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a face; its colour is the class."""
    rng = np.random.default_rng(seed)
    skin = (224, 180, 150) if label == CLASSES[0] else (150, 110, 90)
    x, y = rng.uniform(130, 190), rng.uniform(110, 130)
    return face_makers.draw((x, y, 100.0), skin=skin)


def film(
    path: Path, label: str, seed: int, *, faces: bool = True, voice: bool = True, times: int = 1
) -> Path:
    """Write a clip like those of the corpus, or one that lacks something."""
    seconds = times * SECONDS
    shown = picture(label, seed) if faces else np.full((240, 320, 3), 90, np.uint8)
    pieces = [(0.0, sound(label, seconds, seed))] if voice else []
    return clip_makers.write_clip(path, [shown] * round(seconds * FPS), fps=FPS, sound=pieces, rate=RATE)


def write_corpus(folder: Path) -> None:
    """Write clips, manifest, a table of features, and the experiment."""
    (folder / "media").mkdir(parents=True)
    rows, told = [], []
    for subject in SUBJECTS:
        for label in CLASSES:
            seed = len(rows)
            name = f"{subject}-{CLASSES.index(label)}"
            media = film(folder / "media" / f"{name}.mkv", label, seed)
            row = {"clip_id": name, "subject": subject, "video": media.name, "emotion": label}
            rows.append(row | {"sha256": file_sha256(media), "duration": SECONDS})
            told.append({"clip_id": name, "AU01_r": seed % 3 + CLASSES.index(label)})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    pd.DataFrame(told).to_csv(folder / "told.csv", index=False)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False), encoding="utf-8")


def train(experiment: Path) -> None:
    """Run the stages."""
    assert extract(experiment=experiment, workers=1) == 0
    assert train_heads(experiment=experiment, workers=1) == 0
    assert fuse(experiment=experiment) == 0
