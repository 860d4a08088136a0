"""What all tests share."""

import os
from pathlib import Path

import pytest
from browser import browser, browser_page  # noqa: F401  # fixtures

# Read by huggingface_hub when it is imported: no test may reach for the hub.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips; tests that use it are marked `realdata`."""
    folder = os.environ.get("AFFECTSTACK_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no real clips here: AFFECTSTACK_DATA names no folder")
    return Path(folder)
