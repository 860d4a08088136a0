import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lab import CLASSES, Lab

from pipeline.runs import RunError, StoredRun, find_run, read_run, read_runs

NAME = "experiment-20260101-120000"


@pytest.fixture
def made(lab: Lab) -> Lab:
    """A run as `fuse` writes it, of made posteriors."""
    manifest = pd.read_csv(lab.folder / "manifest.csv", dtype=str)
    subjects = sorted(set(manifest["subject"]))
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(3), len(manifest))
    rows = pd.DataFrame({"clip_id": manifest["clip_id"], "label": manifest["emotion"]})
    rows["outer_fold"] = [subjects.index(s) // 2 for s in manifest["subject"]]
    rows["inner_fold"], rows["split"] = -1, "test"
    rows[[f"p:{c}" for c in CLASSES]] = P
    folder = lab.folder / "reports" / NAME
    folder.mkdir(parents=True)
    rows.to_parquet(folder / "fused.parquet")
    metrics = {
        "classes": list(CLASSES),
        "fusion": {"method": "logpool", "stacking": "nested", "sources": ["one", "two"], "uar": 0.5},
        "folds": {"name": "three", "test_subjects": [subjects[k : k + 2] for k in (0, 2, 4)]},
        "flags": ["transductive: features were z-scored per speaker"],
        "more": 1,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return lab


def read(lab: Lab) -> StoredRun:
    return read_run(lab.folder / "reports" / NAME, "x")


def edit(lab: Lab, change: Callable[[pd.DataFrame], Any]) -> None:
    path = lab.folder / "reports" / NAME / "fused.parquet"
    rows = pd.read_parquet(path)
    changed = change(rows)
    (rows if changed is None else changed).to_parquet(path)


def test_a_run_is_what_its_folder_holds(made: Lab) -> None:
    found = read(made)
    assert (found.method, found.stacking, found.sources) == ("logpool", "nested", ["one", "two"])
    assert (found.classes, found.folds_name, found.marks) == (list(CLASSES), "three", ["transductive"])
    assert found.posteriors.shape == (72, 3)
    assert found.clips.loc["s3-sad-1"].tolist() == ["sad", "s3", 1]


def test_subjects_come_from_the_table_where_it_has_them(made: Lab) -> None:
    edit(made, lambda rows: rows.assign(subject=rows["clip_id"].str[:2]))
    (made.folder / "experiment.yaml").unlink()
    assert read(made).clips["subject"].nunique() == 6


def test_subjects_that_nobody_knows(made: Lab) -> None:
    (made.folder / "experiment.yaml").unlink()
    with pytest.raises(RunError, match=r"no column 'subject', and there is no .*experiment\.yaml"):
        read(made)


def test_a_manifest_that_changed_since(made: Lab) -> None:
    manifest = made.folder / "manifest.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace(",s0,", ",s5,"))
    with pytest.raises(
        RunError, match="subject 's5', no test subject of its fold 0; the manifest has changed"
    ):
        read(made)
    manifest.write_text(text.replace("s0-angry-0", "other"))
    with pytest.raises(RunError, match="clip 's0-angry-0' is not in the manifest"):
        read(made)


def test_rounded_posteriors_are_scored(made: Lab) -> None:
    """`fuse` averages what was imported, and what has four decimals does not quite sum to 1."""
    edit(made, lambda rows: rows.assign(**{"p:sad": rows["p:sad"] + 1e-3}))
    assert read(made).posteriors.sum(axis=1) == pytest.approx(np.full(72, 1.001))


def shift_fold(rows: pd.DataFrame) -> None:
    rows.loc[5, "outer_fold"] = 3


def not_finite(rows: pd.DataFrame) -> None:
    rows.loc[5, "p:sad"] = np.nan


def too_much(rows: pd.DataFrame) -> None:
    rows.loc[5, "p:sad"] += 3e-3


def not_a_share(rows: pd.DataFrame) -> None:
    rows.loc[5, ["p:sad", "p:happy"]] = [-0.5, 1.5]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: pd.concat([rows, rows[:1]]), r"a clip twice \(clip 's0-angry-0'\)"),
        (lambda rows: rows.assign(label="bored"), "a label that is no class"),
        (lambda rows: rows.drop(columns="label"), "missing column 'label'"),
        (lambda rows: rows.drop(columns="p:sad"), "missing column 'p:sad'"),
        (lambda rows: rows[:0], "holds no clip"),
        (shift_fold, r"a fold beyond those of metrics.json \(clip 's0-happy-1'\)"),
        (not_finite, r"posteriors that are none \(clip 's0-happy-1'\)"),
        (not_a_share, "posteriors that are none"),
        (too_much, r"posteriors that are none \(clip 's0-happy-1'\)"),
        (lambda rows: rows.astype({"p:sad": str}).assign(**{"p:sad": "much"}), "posteriors that are none"),
    ],
)
def test_tables_that_cannot_be_scored(
    made: Lab, change: Callable[[pd.DataFrame], Any], complaint: str
) -> None:
    edit(made, change)
    with pytest.raises(RunError, match=complaint):
        read(made)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "damaged: not a JSON object"),
        ("[]", "damaged: not a JSON object"),
        ("{}", "fusion: Field required"),
        (None, r"folds\.test_subjects: List should have at least 1 item"),
    ],
)
def test_damaged_metrics(made: Lab, text: str | None, complaint: str) -> None:
    path = made.folder / "reports" / NAME / "metrics.json"
    if text is None:
        value = json.loads(path.read_text())
        value["folds"]["test_subjects"] = []
        text = json.dumps(value)
    path.write_text(text)
    with pytest.raises(RunError, match=complaint):
        read(made)


def test_a_damaged_table(made: Lab) -> None:
    (made.folder / "reports" / NAME / "fused.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="not a readable parquet file"):
        read(made)


def test_a_run_by_path_by_name_and_by_experiment(made: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder)
    run = made.folder / "reports" / NAME
    # By time, then by attempt; other experiments' runs and folders without figures are none.
    for name in (NAME[:-1] + "1-10", NAME[:-1] + "1-2", "experiment-two-20260909-120000"):
        (run.parent / name).mkdir()
        (run.parent / name / "metrics.json").touch()
    (run.parent / "experiment-20270101-120000").mkdir()
    assert find_run(str(run)) == find_run(NAME) == find_run(f"reports/{NAME}") == run
    assert find_run("experiment.yaml").name == NAME[:-1] + "1-10"
    (run.parent / "latest").symlink_to(NAME)
    assert find_run("latest") == run


def test_what_is_no_run(made: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder)
    with pytest.raises(RunError, match=f"no run {NAME[:-1]}1: .*did you mean '{NAME}'"):
        find_run(NAME[:-1] + "1")
    with pytest.raises(RunError, match="holds no metrics"):
        find_run(".")
    Path("other.yaml").write_text("{}")
    with pytest.raises(RunError, match="has no run yet; make one with"):
        find_run("other.yaml")
    with pytest.raises(RunError, match="is the same run as"):
        read_runs([NAME, f"reports/{NAME}"])
