"""Fixtures of the manifests."""

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for archives, with a neighbour that members may try to reach."""
    (tmp_path / "corpus_evil").mkdir()
    (tmp_path / "here").mkdir()
    return tmp_path / "here"
