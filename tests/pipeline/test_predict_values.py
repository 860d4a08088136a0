"""`python -m pipeline.predict` where the experiment is about attributes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from lab import Lab

RATE = 16000


def sound(pitch: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * pitch * t) + 0.02 * rng.normal(size=RATE)).astype(np.float32)


@pytest.fixture
def spoken(lab: Lab) -> Lab:
    """Tones whose pitch is the value."""
    rows = []
    for s in range(6):
        for take in range(4):
            value = (s * 4 + take) % 8
            name = f"s{s}-{take}.wav"
            soundfile.write(lab.folder / name, sound(120 + 40 * value, 10 * s + take), RATE)
            rows.append({"clip_id": name[:-4], "subject": f"s{s}", "audio": name, "arousal": value})
    pd.DataFrame(rows).to_csv(lab.folder / "manifest.csv", index=False)
    lab.document = {
        "manifest": "manifest.csv",
        "attributes": ["arousal"],
        "folds": {"by": "subject", "k": 2, "seed": 0},
        "inner_folds": 2,
        "features": {"voice": {"modality": "audio", "extractor": "opensmile", "feature_set": "eGeMAPSv02"}},
        "heads": {"ridge": {"features": "voice", "head": "ridge-regression"}},
        "fusion": {"method": "linear"},
    }
    lab.save()
    lab.all_stages()
    return lab


def test_new_clips_get_values(spoken: Lab, tmp_path: Path) -> None:
    for value in (1, 6):
        soundfile.write(tmp_path / f"new{value}.wav", sound(120 + 40 * value, 99), RATE)
    files = [str(tmp_path / f"new{value}.wav") for value in (1, 6)]
    assert spoken.run("predict", *files, "--workers", "1") == 0, spoken.err
    assert spoken.out.startswith("new1.wav: arousal ")
    assert "used: ridge (audio): arousal " in spoken.out
    assert "%" not in spoken.out.splitlines()[0]
    assert spoken.run("predict", *files, "--json", "--workers", "1") == 0, spoken.err
    low, high = (entry["values"]["arousal"] for entry in json.loads(spoken.out))
    assert low + 2 < high
