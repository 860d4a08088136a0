"""The report in a real browser."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lab import DOCUMENT, run_stages, write_corpus
from test_report_page import PANELS

EVIL = "<script>document.title = 'broken'</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, one of whose clips can be played, and whose subjects have bad names, with its report."""
    made = tmp_path_factory.mktemp("report")
    manifest = write_corpus(made)
    (made / "media").mkdir()
    tone = (0.1 * np.sin(np.arange(16000) / 8)).astype(np.float32)
    soundfile.write(made / "media/a b#.wav", tone, 16000)
    manifest["audio"] = ""
    manifest.loc[manifest["clip_id"] == "s0-angry-0", "audio"] = "media/a b#.wav"
    manifest["subject"] = manifest["subject"].replace({"s1": EVIL, "s2": "=cmd()"})
    manifest.to_csv(made / "manifest.csv", index=False)
    run_stages(made, {**DOCUMENT, "root": "."})
    return made


@pytest.fixture
def report(folder: Path) -> str:
    return (folder / "reports/latest/report.html").resolve().as_uri()


def ids(page: Any) -> list[str]:
    found: list[str] = page.locator("#clips tbody tr:not([data-player]) td:nth-child(2)").all_inner_texts()
    return found


def rows(page: Any) -> int:
    return int(page.locator("#clips tbody tr").count())


def test_every_panel_is_seen_and_nothing_complains(report: str, browser_page: Any) -> None:
    complaints: list[str] = []
    browser_page.on("console", lambda message: complaints.append(message.text))
    browser_page.goto(report)
    for panel in PANELS:
        assert browser_page.locator(f"#{panel}").is_visible(), panel
        assert browser_page.locator(f"#{panel}").inner_text().strip()
    assert browser_page.title() == "experiment.yaml · affectstack"
    assert not complaints


@pytest.mark.parametrize(
    ("width", "scheme"), [(1200, "light"), (1200, "dark"), (380, "light"), (380, "dark")]
)
def test_it_fits_a_phone_and_follows_the_reader_s_colours(
    report: str, browser_page: Any, width: int, scheme: str
) -> None:
    browser_page.set_viewport_size({"width": width, "height": 800})
    browser_page.emulate_media(color_scheme=scheme)
    browser_page.goto(report)
    inner, outer = browser_page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inner == outer  # tables scroll by themselves
    ground = browser_page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(c) for c in ground[4:-1].split(",")) > 384) is (scheme == "light")


def test_paper_has_no_controls(report: str, browser_page: Any) -> None:
    browser_page.goto(report)
    browser_page.emulate_media(media="print")
    assert not browser_page.locator(".controls").is_visible()
    assert browser_page.locator("#leaks").is_visible()


def test_clips_are_filtered_and_sorted(report: str, browser_page: Any) -> None:
    browser_page.goto(report)
    errors = rows(browser_page)
    browser_page.locator("#reset").click()
    assert browser_page.locator("#count").inner_text() == "72 of 72 clips"
    assert rows(browser_page) == 50 > errors
    browser_page.locator("#more").click()
    assert rows(browser_page) == 72
    browser_page.locator("#truth").select_option(label="happy")
    assert all("-happy-" in clip for clip in ids(browser_page))
    browser_page.locator("#text").fill("S0-")
    assert sorted(ids(browser_page)) == [f"s0-happy-{i}" for i in range(4)]
    browser_page.get_by_role("button", name="clip", exact=True).click()
    assert ids(browser_page) == [f"s0-happy-{i}" for i in range(4)]
    assert browser_page.locator("#clips th[aria-sort=ascending]").inner_text().startswith("clip")
    browser_page.get_by_role("button", name="clip", exact=True).click()
    assert ids(browser_page) == [f"s0-happy-{i}" for i in range(3, -1, -1)]


def test_a_cell_of_the_confusion_shows_its_clips(report: str, browser_page: Any) -> None:
    browser_page.goto(report)
    cell = browser_page.locator("button[data-truth='2'][data-decided='2']")
    clips = int(cell.inner_text().split()[0])
    cell.click()
    assert len(ids(browser_page)) == clips
    assert all("-sad-" in clip for clip in ids(browser_page))


def test_the_keyboard_reaches_everything(report: str, browser_page: Any) -> None:
    browser_page.goto(report)
    browser_page.locator("#text").focus()
    seen = []
    for _ in range(12):
        browser_page.keyboard.press("Tab")
        seen.append(browser_page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert seen[:6] == ["truth", "decided", "subject", "fold", "wrong", "reset"]
    assert seen[6:8] == ["clip", "true"]
    browser_page.locator("#reset").press("Enter")
    assert browser_page.locator("#count").inner_text() == "72 of 72 clips"


def test_a_clip_is_played_where_its_media_are(report: str, browser_page: Any) -> None:
    browser_page.goto(report)
    browser_page.locator("#reset").click()
    browser_page.locator("#text").fill("s0-angry-0")
    browser_page.get_by_role("button", name="play s0-angry-0").click()
    player = browser_page.locator("#clips audio")
    player.wait_for()
    browser_page.wait_for_function("document.querySelector('#clips audio').duration === 1")
    browser_page.get_by_role("button", name="play s0-angry-0").click()
    assert player.count() == 0
    browser_page.locator("#text").fill("s0-angry-1")
    assert browser_page.locator("#clips button.play").count() == 0


def test_media_that_are_gone_since_are_a_link(folder: Path, browser_page: Any, tmp_path: Path) -> None:
    shutil.copytree(folder / "reports", tmp_path / "reports", symlinks=True)  # and nothing else
    browser_page.goto((tmp_path / "reports/latest/report.html").resolve().as_uri())
    browser_page.locator("#reset").click()
    browser_page.locator("#text").fill("s0-angry-0")
    browser_page.get_by_role("button", name="play s0-angry-0").click()
    browser_page.get_by_text("cannot be played from here").wait_for()


def test_names_that_would_be_code_are_text(report: str, browser_page: Any, tmp_path: Path) -> None:
    browser_page.goto(report)
    assert "broken" not in browser_page.title()
    browser_page.locator("#reset").click()
    for name in (EVIL, "=cmd()"):
        browser_page.locator("#subject").select_option(name)
        assert rows(browser_page) == 12
        assert browser_page.locator("#clips tbody tr td:nth-child(6)").first.inner_text() == name
