import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lab import Lab

from affectstack.concordance import concordance
from pipeline.runs import RunError, read_runs
from pipeline.value_comparison import compare_values, make_value_tables


@pytest.fixture
def runs(valued: Lab) -> Lab:
    """Two runs of one experiment: a by a linear fusion, b by the mean."""
    reports = valued.folder / "reports"
    for name, method in {"a": "linear", "b": "mean"}.items():
        assert valued.run("fuse", "--set", f"fusion.method={method}") == 0, valued.err
        (reports / "latest").resolve().rename(reports / name)
    return valued


def edit(lab: Lab, name: str, **columns: Any) -> None:
    path = lab.folder / "reports" / name / "fused.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def test_runs_are_scored_on_their_common_clips(runs: Lab) -> None:
    path = runs.folder / "reports/b/fused.parquet"
    pd.read_parquet(path).iloc[5:].to_parquet(path)
    assert runs.run("compare", "a", "b", "--html", "page.html") == 0, runs.err
    assert "CCC on the 67 common clips" in runs.out
    assert "a has 5 more" in runs.out
    html = (runs.folder / "page.html").read_text()
    assert "mean CCC, all common clips" in html
    found = compare_values(read_runs(["a", "b"]))
    table = pd.read_parquet(path)
    said, truth = (table[[f"{kind}:{a}" for a in found.attributes]].to_numpy() for kind in ("v", "truth"))
    assert found.scores[1].mean_ccc.value == pytest.approx(concordance(said, truth).mean())
    (pair,) = found.differences
    assert pair.difference.value == pytest.approx(
        found.scores[0].mean_ccc.value - found.scores[1].mean_ccc.value
    )
    marks = make_value_tables(found)[1].rows
    assert [row[-1] for row in marks] == ["nested", "–"]


@pytest.mark.parametrize("form", ["md", "tex"])
def test_tables_for_papers(runs: Lab, form: str) -> None:
    assert runs.run("compare", "a", "b", "--format", form) == 0, runs.err
    assert "arousal" in runs.out


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"truth:arousal": 1.0},
            r"72 clips have another arousal in b than in a|7. clips have another arousal",
        ),
        ({"v:valence": np.nan}, "said values that are no finite numbers"),
        ({"truth:valence": np.inf}, "true values that are no finite numbers"),
        ({"subject": "s0"}, "no test subject of its fold"),
    ],
)
def test_what_does_not_fit_is_refused(runs: Lab, columns: dict[str, Any], message: str) -> None:
    edit(runs, "b", **columns)
    runs.monkeypatch.chdir(runs.folder)
    with pytest.raises(RunError, match=message):
        compare_values(read_runs(["a", "b"]))


def test_runs_on_classes_and_on_attributes_are_not_compared(runs: Lab, fused_folder: Path) -> None:
    other = next((fused_folder / "reports").glob("experiment-*"))
    assert runs.run("compare", "a", str(other)) == 1
    assert "knows the attributes arousal, valence" in runs.err
    assert runs.run("compare", str(other), "a") == 1
    assert "only runs of the same classes can be compared" in runs.err


@pytest.mark.parametrize("key", ["classes", "attributes"])
def test_a_run_is_of_classes_or_of_attributes(runs: Lab, key: str) -> None:
    path = runs.folder / "reports/a/metrics.json"
    document = json.loads(path.read_text())
    document |= {"attributes": [], "sources": {}} | ({"classes": ["one"]} if key == "classes" else {})
    path.write_text(json.dumps(document))
    assert runs.run("compare", "a", "b") == 1
    assert "classes: expected at least 2 classes, or attributes" in runs.err
