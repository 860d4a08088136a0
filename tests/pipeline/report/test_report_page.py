import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lab import Lab

from pipeline import report


def page(lab: Lab) -> str:
    return (lab.folder / "reports/latest/report.html").read_text(encoding="utf-8")


def test_the_report_needs_nothing_besides_itself(lab: Lab) -> None:
    lab.all_stages()
    html = page(lab)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", html)
    assert "<script" not in html
    assert "@import" not in html
    assert html.count("<svg") == 3


def test_the_report_shows_folds_sources_fusion_confusion_and_the_leak_rule(lab: Lab) -> None:
    lab.all_stages()
    html = page(lab)
    for text in (
        "one-log",
        "two-log",
        "fused (logpool)",
        "fold 2",
        "Leak rule",
        "nested",
        "Confusion",
        "chance",
    ):
        assert text in html
    assert html.count('<span class="tag green">') == 2


def test_what_comes_from_data_is_escaped(lab: Lab, change: Callable[..., None]) -> None:
    evil = "<script>alert(1)</script>"
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    manifest["emotion"] = manifest["emotion"].replace("sad", evil)
    manifest["subject"] = manifest["subject"].replace("s1", "<img src=x>")
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    change("classes", ["angry", "happy", evil])
    change("note", evil)
    lab.all_stages()
    assert "<script" not in page(lab)
    assert "<img" not in page(lab)
    assert "&lt;script&gt;" in page(lab)


def test_the_note_of_an_experiment_is_shown(lab: Lab, change: Callable[..., None]) -> None:
    change("note", "Synthetic corpus.")
    lab.all_stages()
    assert "Synthetic corpus." in page(lab)


def test_figures_do_not_depend_on_the_time() -> None:
    confusion = np.array([[5, 1], [0, 7]])
    assert report.confusion_chart(confusion, ["a", "b"]) == report.confusion_chart(confusion, ["a", "b"])


@pytest.mark.slow
def test_a_browser_shows_it(lab: Lab, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium here")
    lab.all_stages()
    picture = tmp_path / "report.png"
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    ]  # fmt: skip
    subprocess.run(
        [
            browser,
            *flags,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1150,1700",
            f"--screenshot={picture}",
            (lab.folder / "reports/latest/report.html").resolve().as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[:2] == (1700, 1150)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100  # a page, not a blank
