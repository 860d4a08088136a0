"""Fixtures of the stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trained as corpus
from lab import CLASSES, Lab, write_corpus


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A corpus of 72 clips of 6 subjects with an experiment of two features and two heads."""
    write_corpus(tmp_path)
    monkeypatch.setattr("extractors.table.FeatureTable.clips_per_shard", 32)  # so that there are several
    document: dict[str, Any] = {
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
    made = Lab(tmp_path, document, capsys, monkeypatch)
    made.save()
    return made


@pytest.fixture
def change(lab: Lab) -> Callable[..., None]:
    """Change keys of the lab's experiment: `change("heads.one-log.C", 3)`."""

    def apply(key: str, value: Any) -> None:
        target = lab.document
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
        lab.save()

    return apply


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment on films with sound, extracted and trained; tests that change it copy its folder."""
    folder = tmp_path_factory.mktemp("trained")
    corpus.write_corpus(folder)
    corpus.train(folder / "experiment.yaml")
    return folder / "experiment.yaml"
