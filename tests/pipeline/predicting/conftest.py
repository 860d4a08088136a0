"""Fixtures of the predictor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import Predictor


@pytest.fixture(scope="session")
def predictor(trained: Path) -> Iterator[Predictor]:
    """A warm predictor of the trained experiment."""
    with Predictor(trained, workers=1) as made:
        yield made
