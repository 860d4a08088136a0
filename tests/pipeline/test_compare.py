import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lab import CLASSES, Lab
from sklearn.metrics import f1_score, recall_score

from pipeline.compare import compare_runs, make_tables
from pipeline.runs import read_runs
from pipeline.statistics import mcnemar

P = [f"p:{c}" for c in CLASSES]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves its runs for the others: making them takes seconds."""
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def runs(lab: Lab, shelf: Path) -> Lab:
    """Runs of one experiment: a by logpool, b by a rule, c in-sample."""
    reports = lab.folder / "reports"
    if (shelf / "reports").is_dir():
        shutil.copytree(shelf / "reports", reports)
        return lab
    assert lab.run("extract") == 0, lab.err
    assert lab.run("train_heads") == 0, lab.err
    for name, setting in {"a": "method=logpool", "b": "method=product", "c": "stacking=in-sample"}.items():
        assert lab.run("fuse", "--set", f"fusion.{setting}") == 0, lab.err
        (reports / "latest").resolve().rename(reports / name)
        edit(lab, name, subject=table(lab, name)["clip_id"].str[:2])  # which its new name cannot tell
    (reports / "latest").unlink()
    shutil.copytree(reports, shelf / "reports")
    return lab


def place(lab: Lab, name: str) -> Path:
    return lab.folder / "reports" / name


def table(lab: Lab, name: str) -> pd.DataFrame:
    return pd.read_parquet(place(lab, name) / "fused.parquet")


def edit(lab: Lab, name: str, **columns: Any) -> None:
    table(lab, name).assign(**columns).to_parquet(place(lab, name) / "fused.parquet")


def change(lab: Lab, name: str, **values: Any) -> None:
    path = place(lab, name) / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def right(rows: pd.DataFrame) -> pd.Series:
    guesses = rows[P].idxmax(axis=1).str[2:]
    return pd.Series((guesses == rows["label"]).to_numpy(), index=rows["clip_id"].to_numpy()).sort_index()


def test_figures_are_those_of_the_tables(runs: Lab) -> None:
    found = compare_runs(read_runs([str(place(runs, n)) for n in "abc"]))
    assert found.clips == 72
    for name, scores in zip("abc", found.scores, strict=True):
        rows = table(runs, name)
        guesses = rows[P].idxmax(axis=1).str[2:]
        assert scores.accuracy == pytest.approx(right(rows).mean())
        assert scores.uar == pytest.approx(recall_score(rows["label"], guesses, average="macro"))
        assert scores.macro_f1 == pytest.approx(f1_score(rows["label"], guesses, average="macro"))
        metrics = json.loads((place(runs, name) / "metrics.json").read_text())["fusion"]
        assert scores.accuracy_folds == pytest.approx(metrics["accuracy_folds"])
        assert scores.calibration.nll == pytest.approx(metrics["nll"])
        assert list(scores.interval) == pytest.approx(metrics["subject_interval_95"])
    first = found.differences[0]
    a, b = right(table(runs, "a")), right(table(runs, "b"))
    assert (first.first, first.second) == ("a", "b")
    assert first.points == pytest.approx(a.mean() - b.mean())
    assert first.test == mcnemar(a.to_numpy(), b.to_numpy())
    p = [d.test.p for d in found.differences]
    assert min(d.holm for d in found.differences) == pytest.approx(min(1, 3 * min(p)))


def test_marks_set_unlike_runs_apart(runs: Lab) -> None:
    assert runs.run("compare", "a", "b", "c") == 0, runs.err
    assert "The marks differ: these figures are not all of one kind." in runs.out
    lines = runs.out.splitlines()
    figures = lines[lines.index("Figures on the 72 common clips") + 2 :][:3]
    marks = [line.split()[-1] for line in figures]
    assert marks == ["nested", "–", "in-sample"]  # a rule learns nothing
    assert "(c)" in runs.out
    assert runs.run("compare", "a", "a") == 1
    assert "is the same run as" in runs.err


def test_temperatures_are_learned(runs: Lab) -> None:
    fusion = json.loads((place(runs, "b") / "metrics.json").read_text())["fusion"]
    change(runs, "b", fusion={**fusion, "temperature": True})
    kinds = {r.name: r for r in read_runs([str(place(runs, n)) for n in "ab"])}
    assert (kinds["a"].temperature, kinds["b"].temperature) == (False, True)
    assert runs.run("compare", "b", "a") == 0, runs.err
    rows = [line for line in runs.out.splitlines() if line.startswith("b ")]
    assert "product, temperature" in rows[0]
    assert [row.split()[-1] for row in rows[:2]] == ["nested", "nested"]  # the product alone has no mark
    assert "The marks differ" not in runs.out


def test_sources_stand_side_by_side(runs: Lab) -> None:
    figures = json.loads((place(runs, "b") / "metrics.json").read_text())["sources"]
    change(runs, "b", sources={"one-log": {**figures["one-log"], "uar": 0.125}, "own": figures["two-log"]})
    tables = make_tables(compare_runs(read_runs([str(place(runs, n)) for n in "abc"])))
    assert tables[-1].title == "Sources that several runs have"
    assert [row[:2] for row in tables[-1].rows] == [
        ["one-log", "a"], ["one-log", "b"], ["one-log", "c"], ["two-log", "a"], ["two-log", "c"],
    ]  # fmt: skip
    one = figures["one-log"]
    low, high = one["subject_interval_95"]
    expected = [one["accuracy_mean"], one["accuracy"], low, high]
    mean, accuracy, low, high = (f"{100 * value:.1f}" for value in expected)
    assert tables[-1].rows[1][2:] == ["72", mean, accuracy, f"{low} – {high}", "12.5"]
    change(runs, "b", sources={})
    alone = make_tables(compare_runs(read_runs([str(place(runs, n)) for n in "ab"])))
    assert alone[-1].title == "Recall per class, %"


def test_runs_of_one_kind_have_no_warning(runs: Lab) -> None:
    change(runs, "c", flags=[], fusion={"method": "logistic", "stacking": "nested", "sources": ["one-log"]})
    assert runs.run("compare", "a", "c") == 0
    assert "The marks differ" not in runs.out
    assert "p, Holm" not in runs.out  # of one pair there is nothing to correct


def test_only_common_clips_count(runs: Lab) -> None:
    rows = table(runs, "b")
    rows[~rows["clip_id"].str.endswith("-3")].to_parquet(place(runs, "b") / "fused.parquet")
    found = compare_runs(read_runs([str(place(runs, n)) for n in "ab"]))
    assert found.clips == 54
    kept = table(runs, "a")
    kept = kept[~kept["clip_id"].str.endswith("-3")]
    assert found.scores[0].accuracy == pytest.approx(right(kept).mean())
    assert runs.run("compare", "a", "b") == 0
    assert "Figures on the 54 common clips" in runs.out
    assert "Clips that not all runs have are left out: a has 18 more." in runs.out


def test_classes_are_matched_by_name(runs: Lab) -> None:
    before = compare_runs(read_runs([str(place(runs, n)) for n in "ab"]))
    change(runs, "b", classes=list(CLASSES[::-1]))
    after = compare_runs(read_runs([str(place(runs, n)) for n in "ab"]))
    assert after.differences == before.differences
    assert after.scores[1].recalls == before.scores[1].recalls


def test_other_folds_are_said(runs: Lab) -> None:
    rows = table(runs, "b")
    edit(runs, "b", outer_fold=[int(s[1]) % 3 for s in rows["subject"]])
    change(runs, "b", folds={"name": "x", "test_subjects": [["s0", "s3"], ["s1", "s4"], ["s2", "s5"]]})
    assert runs.run("compare", "a", "b") == 0, runs.err
    assert "Accuracy per fold" not in runs.out
    assert "tested on different folds" in runs.out


def test_folds_in_another_order_are_the_same_folds(runs: Lab) -> None:
    subjects = json.loads((place(runs, "b") / "metrics.json").read_text())["folds"]["test_subjects"]
    before = make_tables(compare_runs(read_runs([str(place(runs, n)) for n in "ab"])))
    edit(runs, "b", outer_fold=2 - table(runs, "b")["outer_fold"])
    change(runs, "b", folds={"name": "x", "test_subjects": subjects[::-1]})
    after = make_tables(compare_runs(read_runs([str(place(runs, n)) for n in "ab"])))
    assert before[2].title == "Accuracy per fold, %"
    assert after[2] == before[2]


@pytest.mark.parametrize("what", ["label", "subject", "classes", "clips"])
def test_runs_that_are_not_of_the_same_clips(runs: Lab, what: str) -> None:
    rows = table(runs, "b")
    if what == "label":
        edit(runs, "b", label=["sad", *rows["label"][1:]])
        complaint = "1 clips have another label in b than in a, such as s"
    elif what == "subject":
        swapped = {"s0": "s1", "s1": "s0"}
        edit(runs, "b", subject=rows["subject"].map(lambda s: swapped.get(s, s)))
        tests = json.loads((place(runs, "b") / "metrics.json").read_text())["folds"]
        tests["test_subjects"] = [[swapped.get(s, s) for s in part] for part in tests["test_subjects"]]
        change(runs, "b", folds=tests)
        complaint = "24 clips have another subject in b than in a"
    elif what == "classes":
        rename = {"p:sad": "p:bored"}
        rows.rename(columns=rename).replace({"label": {"sad": "bored"}}).to_parquet(
            place(runs, "b") / "fused.parquet"
        )
        change(runs, "b", classes=["angry", "happy", "bored"])
        complaint = "a knows the classes angry, happy, sad, b knows angry, happy, bored"
    else:
        edit(runs, "b", clip_id="other-" + rows["clip_id"])
        complaint = "no clip is in all of a, b"
    assert runs.run("compare", "a", "b") == 1
    assert complaint in runs.err


def test_one_run_is_no_comparison(runs: Lab) -> None:
    assert runs.run("compare", "a") == 1
    assert "a comparison needs two runs or more" in runs.err


def test_tables_for_a_paper(runs: Lab) -> None:
    assert runs.run("compare", "a", "b", "--format", "tex") == 0
    assert runs.out.count(r"\begin{table}") == 6
    assert runs.run("compare", "a", "b", "--format", "md") == 0
    assert "## Differences" in runs.out


def test_the_page_escapes_and_needs_nothing_besides_itself(runs: Lab) -> None:
    change(runs, "b", flags=["claimed: <script>alert(1)</script> said so"])
    runs.folder.joinpath("reports/b").rename(runs.folder / "reports/$b_{<i>}$")
    assert runs.run("compare", "a", "$b_{<i>}$", "--html", "out.html") == 0, runs.err
    text = (runs.folder / "out.html").read_text()
    assert "<script" not in text
    assert "<i>" not in text
    assert "&lt;script&gt;" in text
    assert "http://" not in text.replace("http://www.w3.org/", "")
    assert 'role="img"' in text
    assert ">$b_{&lt;i&gt;}$</text>" in text  # as a name in the figure, and no formula
    assert np.count_nonzero([title in text for title in ("Runs", "Differences", "Recall per class")]) == 3
    assert "wrote out.html" in runs.out
