import json
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
from lab import Lab

PANELS = (
    "leaks", "headline", "sources", "calibration", "folds", "certainty", "differences", "weights", "missing",
    "in-sample", "recall", "tested", "subjects", "confusion", "errors", "provenance", "audit",
)  # fmt: skip


def page(lab: Lab) -> str:
    return (lab.folder / "reports/latest/report.html").read_text(encoding="utf-8")


def data(html: str) -> Any:
    """What the error browser reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_report_needs_nothing_besides_itself(fused: Lab) -> None:
    html = page(fused)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", html)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org/)", html)
    assert html.count("<script") == 2
    assert html.count("<svg") == 3


def test_every_panel_is_there_and_the_leaks_come_first(fused: Lab) -> None:
    html = page(fused)
    sections = re.findall(r'<section class="card[^"]*" id="([^"]+)"', html)
    assert sections[0] == "leaks"
    assert sorted(sections) == sorted(PANELS) == sorted(re.findall(r'<a href="#([^"]+)">', html))


def test_what_comes_from_data_is_escaped(lab: Lab, change: Callable[..., None]) -> None:
    evil, formula = "</script><script>alert(1)</script>", "=cmd()"
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    manifest["emotion"] = manifest["emotion"].replace({"sad": evil, "happy": formula})
    manifest["subject"] = manifest["subject"].replace("s1", "<img src=x>")
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    change("classes", ["angry", formula, evil])
    change("note", evil)
    lab.all_stages()
    html = page(lab)
    assert html.count("<script") == 2
    assert html.count("</script") == 2
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert data(html)["classes"] == ["angry", formula, evil]


def test_formats_for_papers(fused: Lab) -> None:
    assert fused.run("fuse", "--report", "--format", "md", "--format", "tex") == 0, fused.err
    folder = fused.folder / "reports/latest"
    assert not (folder / "report.html").exists()
    markdown, latex = (folder / "report.md").read_text(), (folder / "report.tex").read_text()
    for title in (
        "Leaks",
        "Accuracy per fold, %",
        "When sources are missing",
        "Confusion of the fusion, clips",
    ):
        assert f"## {title}" in markdown
        assert rf"\caption{{{title}".replace("%", r"\%") in latex
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 11
    assert "next: open reports/latest/report.md in an editor" in fused.out


def test_a_format_without_a_report_is_refused(fused: Lab) -> None:
    assert fused.run("fuse", "--format", "md") == 1
    assert "--format says what a report is written as; give --report with it" in fused.err


def test_the_note_of_an_experiment_is_shown(lab: Lab, change: Callable[..., None]) -> None:
    change("note", "Synthetic corpus.")
    lab.all_stages()
    assert "Synthetic corpus." in page(lab)
