"""One's own clips by the voices of the light recipe: eGeMAPS and ComParE, support vectors, fused."""

import contextlib
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lab
import yaml
from turns import say

from pipeline import Predictor
from pipeline.cli import quieten
from pipeline.extract import extract
from pipeline.train_heads import train_heads

SUBJECTS, CLASSES, SECONDS = 24, 8, 3.7
LONG = 120.0
ROUNDS = 5

EXPERIMENT = {
    "label": "emotion",
    "features": {
        "egemaps": {"modality": "audio", "extractor": "opensmile", "feature_set": "eGeMAPSv02"},
        "compare": {"modality": "audio", "extractor": "opensmile", "feature_set": "ComParE_2016"},
    },
    "heads": {
        "egemaps-svc": {"features": "egemaps", "head": "svc", "C": [1], "gamma": [0.005]},
        "compare-svc": {"features": "compare", "head": "svc", "C": [5], "gamma": [0.00002]},
    },
    "fusion": {"method": "logpool"},
}


def trained(folder: Path) -> Path:
    """Write a corpus of noise with a syllable-like envelope, extract and train."""
    rows = ["clip_id,subject,emotion,audio,duration"]
    for subject in range(SUBJECTS):
        for label in range(CLASSES):
            name = f"s{subject}-c{label}"
            lab.speech(folder / f"{name}.wav", SECONDS, subject * CLASSES + label)
            rows.append(f"{name},s{subject},c{label},{name}.wav,{SECONDS}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    experiment = folder / "experiment.yaml"
    experiment.write_text(yaml.safe_dump(EXPERIMENT))
    with contextlib.redirect_stdout(io.StringIO()):
        extract(experiment=experiment)
        train_heads(experiment=experiment)
    return experiment


def main(folder: Path) -> None:
    """Measure a long recording against its own length, and single clips against a command for each."""
    experiment = trained(folder)
    long = lab.speech(folder / "long.wav", LONG, 10_001)
    clip = lab.speech(folder / "clip.wav", SECONDS, 10_002)
    with Predictor(experiment, workers=2) as predictor:
        predictor.predict(clip)
        began = time.perf_counter()
        windows = len(predictor.predict(long).timeline)
        took = time.perf_counter() - began
        say(f"predict: {LONG:g} s of voice in {windows} windows, warm, against real time", took, LONG)
        began = time.perf_counter()
        for _ in range(ROUNDS):
            predictor.predict(clip)
        took = (time.perf_counter() - began) / ROUNDS
    say(f"predict: a clip of {SECONDS} s, warm, against real time", took, SECONDS)
    began = time.perf_counter()
    command = [sys.executable, "-m", "pipeline.predict", str(clip), "--experiment", str(experiment)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    say(f"predict: a clip of {SECONDS} s, warm, against a command", took, time.perf_counter() - began)


if __name__ == "__main__":
    quieten()
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
