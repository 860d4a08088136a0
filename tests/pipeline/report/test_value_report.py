import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lab import Lab

from pipeline.audit import COLUMNS
from pipeline.experiment import load
from pipeline.report import value_contents
from pipeline.report.leaks import lights
from pipeline.report.tables import Table
from pipeline.value_evaluation import ValueControl, ValueRun, evaluate_values
from pipeline.value_scores import plain

PANELS = (
    "leaks", "headline", "sources", "scatter", "concordance", "error", "correlation", "folds", "subjects",
    "differences", "weights", "in-sample", "deviations", "tested", "audit", "provenance",
)  # fmt: skip


@pytest.fixture
def run(valued: Lab) -> ValueRun:
    return evaluate_values(load(valued.folder / "experiment.yaml"))


def row(table: Table, name: str) -> dict[str, str]:
    (found,) = [r for r in table.rows if r[0] == name]
    return dict(zip(table.columns, found, strict=True))


def page(lab: Lab) -> str:
    return (lab.folder / "reports/latest/report.html").read_text(encoding="utf-8")


def test_the_report_needs_nothing_besides_itself(valued: Lab) -> None:
    html = page(valued)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", html)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org/)", html)
    assert html.count("<svg") == 3
    assert "<script" not in html


def test_every_panel_is_there_and_the_leaks_come_first(valued: Lab) -> None:
    html = page(valued)
    sections = re.findall(r'<section class="card[^"]*" id="([^"]+)"', html)
    assert sections[0] == "leaks"
    assert sorted(sections) == sorted(PANELS) == sorted(re.findall(r'<a href="#([^"]+)">', html))


def test_what_comes_from_data_is_escaped(values: Lab) -> None:
    evil = "<img src=x>$a$"
    frame = pd.read_csv(values.folder / "manifest.csv").rename(columns={"arousal": evil})
    frame["subject"] = frame["subject"].replace("s1", evil)
    frame.to_csv(values.folder / "manifest.csv", index=False)
    values.document |= {"attributes": [evil, "valence"], "note": evil}
    values.save()
    values.all_stages()
    html = page(values)
    assert "<img" not in html
    assert "&lt;img src=x&gt;" in html


def test_the_headline_is_in_words(run: ValueRun) -> None:
    text = value_contents.headline(run)
    assert text.startswith(
        f"The fusion agrees with the labels by a CCC of {plain(run.fusion.ccc['arousal'].value)} ["
    )
    best = max(run.sources, key=lambda name: run.sources[name].mean_ccc.value)
    assert f"Against {best}, the best source, its mean CCC is +" in text
    protocol = value_contents.protocol(run)
    assert protocol.startswith("3 folds by subject (3 folds by subject, seed 0): every one of 72 clips was")
    assert "6 subjects. Fused by linear from 2 sources, nested." in protocol


def test_tables_show_the_scores(run: ValueRun) -> None:
    found = value_contents.tables(run, pd.DataFrame(columns=["feature", *COLUMNS]))
    fused, scores = row(found["concordance"], "fused (linear)"), run.fusion
    assert fused["valence"].startswith(f"{plain(scores.ccc['valence'].value)} [")
    assert fused["mean"].startswith(f"{plain(scores.mean_ccc.value)} [")
    assert {"the same, cross-fitted", "the same, in-sample"} <= {r[0] for r in found["concordance"].rows}
    errors = row(found["error"], "one-ridge")
    assert errors["arousal"].startswith(f"{run.sources['one-ridge'].rmse['arousal'].value:#.3g} [")
    correlation = row(found["correlation"], "one-ridge")["valence"]
    assert correlation.startswith(f"{plain(run.sources['one-ridge'].pearson['valence'].value)} [")
    folds = row(found["folds"], "fused (linear)")
    assert [folds[f"fold {k}"] for k in range(3)] == [plain(v) for v in scores.mean_ccc_folds]
    weights = np.array([f.fitted.attribute_weights() for f in run.folds])  # type: ignore[union-attr]
    assert row(found["weights"], "two-ridge")["valence"].startswith(f"{weights[:, 1, 1].mean():.2f} (")
    splits = row(found["in-sample"], "one-ridge")
    assert splits["test clips"] == plain(run.sources["one-ridge"].mean_ccc.value)
    assert float(splits["own training clips"]) > float(splits["test clips"])


def test_the_largest_deviations_come_first(run: ValueRun) -> None:
    far = value_contents.deviations(run)
    truth = run.protocol.values.loc[run.fusion.prediction.index]
    z = (run.fusion.prediction - truth) / truth.std(ddof=0)
    np.testing.assert_allclose(far, np.sqrt((z**2).mean(axis=1)).sort_values(ascending=False))
    table = value_contents.deviation_table(run)
    assert len(table.rows) == value_contents.SHOWN
    clip, subject, fold, arousal, _, deviation = table.rows[0]
    assert clip == far.index[0]
    assert subject == clip.partition("-")[0]
    assert clip in run.folds[int(fold)].clip_ids
    assert arousal == f"{run.fusion.prediction.loc[clip, 'arousal']:.3g} ({truth.loc[clip, 'arousal']:.3g})"
    assert float(deviation) == pytest.approx(far.iloc[0], abs=0.005)


def test_rules_without_weights_have_no_panel_of_them(valued: Lab) -> None:
    assert valued.run("fuse", "--report", "--set", "fusion.method=mean") == 0, valued.err
    assert 'id="weights"' not in page(valued)
    settings = ("--set", "fusion.method=weighted", "--set", "fusion.weights=[3, 1]")
    assert valued.run("fuse", "--report", *settings) == 0, valued.err
    assert 'id="weights"' in page(valued)
    assert "0.75 (0.75 – 0.75)" in page(valued)


def test_lights_say_what_they_looked_at(valued: Lab, run: ValueRun) -> None:
    found = {light.name: light for light in lights(run, None)}
    assert found["exchanged values"].level == "green"
    assert re.fullmatch(r"CCC (0|-?\.\d\d), by chance (0|-?\.\d\d)", found["exchanged values"].number)
    assert re.search(r"in-sample [+-]\d\.\d{3} CCC", found["stacking"].number)
    assert valued.run("fuse", "--report", "--set", "fusion.stacking=in-sample") == 0, valued.err
    assert 'class="tag red"' in page(valued)


def test_formats_for_papers(valued: Lab) -> None:
    assert valued.run("fuse", "--report", "--format", "md", "--format", "tex") == 0, valued.err
    folder = valued.folder / "reports/latest"
    assert r"\caption{Concordance (CCC) by attribute" in (folder / "report.tex").read_text()
    assert "## Concordance (CCC) by attribute" in (folder / "report.md").read_text()
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(("ccc", "level"), [(0.1, "green"), (0.5, "red")])
def test_a_fusion_that_knows_exchanged_values_is_red(run: ValueRun, ccc: float, level: str) -> None:
    knows = replace(run, control=ValueControl(ccc, 0.0))
    (light,) = [light for light in lights(knows, None) if light.name == "exchanged values"]
    assert light.level == level
