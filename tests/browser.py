"""A real browser for the pages that this project makes; tests that ask for it skip where there is none."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_OWN = ("127.0.0.1", "localhost", "")  # a file has no host


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium of this machine; nothing is downloaded."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=found, headless=True, args=list(_FLAGS))
        yield started
        started.close()


@pytest.fixture
def browser_page(browser: Any) -> Iterator[Any]:
    """A new page (playwright's `Page`); the test fails if it threw an error or asked another machine.

    `page.goto(path.as_uri())` opens a file, `page.emulate_media(color_scheme="dark")` and
    `page.set_viewport_size({"width": 400, "height": 800})` change how it is looked at,
    `page.screenshot(path=..., full_page=True)` takes a picture.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    foreign: list[str] = []

    def look(route: Any) -> None:
        parts = urlsplit(route.request.url)
        if parts.scheme in ("http", "https", "file", "ws", "wss") and (parts.hostname or "") not in _OWN:
            foreign.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route("**/*", look)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors, errors
    assert not foreign, f"the page asked other machines: {foreign}"


def screenshots(page: Any, folder: Path, name: str) -> list[Path]:
    """Take pictures of a page, wide and narrow, light and dark, for a person to look at."""
    taken = []
    for width in (1200, 400):
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            path = folder / f"{name}-{width}-{scheme}.png"
            page.screenshot(path=str(path), full_page=True)
            taken.append(path)
    return taken
