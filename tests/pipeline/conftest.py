"""Fixtures of the stages."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trained as corpus
import value_lab
from lab import DOCUMENT, Lab, run_stages, write_corpus


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A corpus of 72 clips of 6 subjects with an experiment of two features and two heads."""
    write_corpus(tmp_path)
    monkeypatch.setattr("extractors.table.FeatureTable.clips_per_shard", 32)  # so that there are several
    made = Lab(tmp_path, copy.deepcopy(DOCUMENT), capsys, monkeypatch)
    made.save()
    return made


@pytest.fixture(scope="session")
def fused_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's folder after all stages, made once; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("fused")
    write_corpus(folder)
    run_stages(folder, DOCUMENT)
    return folder


@pytest.fixture
def fused(lab: Lab, fused_folder: Path) -> Lab:
    """The lab after all stages."""
    shutil.copytree(fused_folder, lab.folder, symlinks=True, dirs_exist_ok=True)
    return lab


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


@pytest.fixture(scope="session")
def valued_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment on attributes after all stages, made once; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("valued")
    value_lab.write_corpus(folder)
    run_stages(folder, value_lab.DOCUMENT)
    return folder


@pytest.fixture
def values(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A corpus of 72 clips of 6 subjects with values, and an experiment of two features and two heads."""
    folder = tmp_path / "values"
    folder.mkdir()
    value_lab.write_corpus(folder)
    made = Lab(folder, copy.deepcopy(value_lab.DOCUMENT), capsys, monkeypatch)
    made.save()
    return made


@pytest.fixture
def valued(values: Lab, valued_folder: Path) -> Lab:
    """The same after all stages."""
    shutil.copytree(valued_folder, values.folder, symlinks=True, dirs_exist_ok=True)
    return values
