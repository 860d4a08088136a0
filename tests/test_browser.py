"""The browser of the tests: it shows pages, and tells on those that are wrong."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from browser import screenshots


def write(folder: Path, body: str) -> str:
    page = folder / "page.html"
    page.write_text(f"<!doctype html><title>a page</title>{body}", encoding="utf-8")
    return page.as_uri()


def test_a_page_is_shown_and_pictured(browser_page: Any, tmp_path: Path) -> None:
    browser_page.goto(write(tmp_path, "<p id=p></p><script>p.textContent = 6 * 7</script>"))
    assert browser_page.inner_text("#p") == "42"
    taken = screenshots(browser_page, tmp_path, "page")
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in taken) and len(taken) == 4


CASES = """
def test_error(browser_page):
    browser_page.goto("data:text/html,<script>throw new Error('no')</script>")

def test_foreign(browser_page):
    browser_page.goto("data:text/html,<img src='http://example.org/x.png'>")
    browser_page.wait_for_timeout(200)

def test_fine(browser_page):
    browser_page.goto("data:text/html,<p>fine")
"""


def test_errors_and_requests_to_others_are_noticed(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from browser import browser, browser_page")
    (tmp_path / "test_cases.py").write_text(CASES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_cases.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed, 2 errors" in done.stdout, done.stdout
    assert "ERROR test_cases.py::test_error" in done.stdout, done.stdout
    assert "ERROR test_cases.py::test_foreign" in done.stdout, done.stdout
