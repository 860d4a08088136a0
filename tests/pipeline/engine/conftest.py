"""Fixtures of the engine's tests."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "extractors"))  # clip_makers


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let decode workers import the extractors that the tests define."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
