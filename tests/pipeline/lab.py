"""A small corpus without media, whose features are real tables, and the commands run on it."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer

from pipeline import cli
from pipeline.experiment import dump

CLASSES = ("angry", "happy", "sad")
SUBJECTS = tuple(f"s{i}" for i in range(6))
DOCUMENT: dict[str, Any] = {
    "manifest": "manifest.csv",
    "label": "emotion",
    "classes": list(CLASSES),
    "folds": {"by": "subject", "k": 3, "seed": 0},
    "inner_folds": 2,
    "features": {
        "one": {"modality": "au", "extractor": "table", "path": "one.csv"},
        "two": {"modality": "audio", "extractor": "table", "path": "two.csv"},
    },
    "heads": {
        "one-log": {"features": "one", "head": "logistic"},
        "two-log": {"features": "two", "head": "logistic"},
    },
    "fusion": {"method": "logpool"},
}


@dataclass
class Lab:
    """A folder with an experiment, and the commands run in it."""

    folder: Path
    document: dict[str, Any]
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    out: str = ""
    err: str = ""

    def save(self, name: str = "experiment.yaml") -> None:
        """Write the experiment file."""
        # In its own order: openSMILE brings oyaml, which changes what PyYAML does by itself.
        (self.folder / name).write_text(dump(self.document), encoding="utf-8")

    def run(self, module: str, *args: str) -> int:
        """Run a command as a user would, in this process; keep what it printed."""
        if module in ("extract", "train_heads") and not {"--workers", "--help"} & set(args):
            args = (*args, "--workers", "1")  # starting processes costs more than these small runs
        app: typer.Typer = importlib.import_module(f"pipeline.{module}").app
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", [f"pipeline.{module}", *args])
        with pytest.raises(SystemExit) as stop:
            cli.run(app)
        printed = self.capsys.readouterr()
        self.out, self.err = printed.out, printed.err
        assert isinstance(stop.value.code, int)
        return stop.value.code

    def all_stages(self) -> None:
        """Extract, train and fuse."""
        assert self.run("extract") == 0, self.err
        assert self.run("train_heads") == 0, self.err
        assert self.run("fuse", "--report") == 0, self.err


def run_stages(folder: Path, document: Mapping[str, Any], *, failed: bool = False) -> None:
    """Extract, train, fuse and report, where no test is running yet; `failed`: some clips lack features."""
    (folder / "experiment.yaml").write_text(dump(document), encoding="utf-8")
    stages = (
        ("extract", "--workers", "1", "--max-failed", "50%"),
        ("train_heads", "--workers", "1"),
        ("fuse", "--report"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extractors.table.FeatureTable.clips_per_shard", 32)  # so that there are several
        patch.chdir(folder)
        for module, *args in stages:
            patch.setattr(sys, "argv", [f"pipeline.{module}", *args])
            with pytest.raises(SystemExit) as stop:
                cli.run(importlib.import_module(f"pipeline.{module}").app)
            assert stop.value.code == (2 if failed and module == "extract" else 0)


def write_corpus(folder: Path) -> pd.DataFrame:
    """Write a manifest and two feature tables that both carry the class, imperfectly."""
    rng = np.random.default_rng(0)
    rows = []
    for subject in SUBJECTS:
        for label in CLASSES:
            for take in range(4):
                rows.append({"clip_id": f"{subject}-{label}-{take}", "subject": subject, "emotion": label})
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "manifest.csv", index=False)
    index = np.array([CLASSES.index(c) for c in frame["emotion"]])
    for name, hidden in (("one", 0), ("two", 2)):
        # Each table cannot tell one pair of classes apart; together they can.
        centre = np.eye(3)[np.where(index == hidden, 1, index)] * 3
        values = np.hstack([centre + rng.normal(size=(len(frame), 3)), rng.normal(size=(len(frame), 2))])
        table = pd.DataFrame(values, columns=[f"f{i}" for i in range(5)])
        table.insert(0, "clip_id", frame["clip_id"])
        table.to_csv(folder / f"{name}.csv", index=False)
    return frame
