"""The sweep over MMER's table of classifiers: two processes against one process on one core."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from turns import compare

from manifests.ravdess import EMOTIONS


def write_experiment(folder: Path) -> None:
    """Write 1,440 clips like RAVDESS's with 35 columns like action units, and extract them."""
    rng = np.random.default_rng(0)
    emotion, subject = np.arange(1440) % 8, 1 + np.arange(1440) // 60
    centres = rng.normal(size=(8, 35))
    columns = [f"AU{i:02d}_r" for i in range(17)] + [f"AU{i:02d}_c" for i in range(18)]
    values = np.abs(rng.normal(size=(1440, 35)) + 0.4 * centres[emotion])
    clips = [f"clip{i:04d}" for i in range(1440)]
    pd.DataFrame(values, columns=columns, index=pd.Index([f"01-{c}" for c in clips], name="name")).to_csv(
        folder / "aus.csv"
    )
    manifest = {"clip_id": clips, "subject": [f"{s:02d}" for s in subject]}
    manifest["emotion"] = [EMOTIONS[e] for e in emotion]
    pd.DataFrame(manifest).to_csv(folder / "manifest.csv", index=False)
    recipe = Path("pipeline/recipes/mmer-fer-table.yaml").read_text(encoding="utf-8")
    recipe = recipe.replace("extractor: table", f"extractor: table\n    path: {folder / 'aus.csv'}")
    (folder / "experiment.yaml").write_text(recipe, encoding="utf-8")
    _run(folder, "extract", "all")


def sweep(folder: Path, workers: int) -> None:
    """Run the command from nothing."""
    shutil.rmtree(folder / "sweep", ignore_errors=True)
    _run(folder, "train_heads", "--sweep", "--workers", str(workers))


def _run(folder: Path, stage: str, *options: str) -> None:
    cores = {0} if options[-1] == "1" else os.sched_getaffinity(0)
    subprocess.run(
        [
            sys.executable,
            "-m",
            f"pipeline.{stage}",
            *options,
            "--experiment",
            str(folder / "experiment.yaml"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        write_experiment(Path(place))
        compare(
            "train_heads --sweep, recipe mmer-fer-table, two workers against one on one core, whole command",
            lambda: sweep(Path(place), 2),
            lambda: sweep(Path(place), 1),
            rounds=3,
            warm=False,
        )
