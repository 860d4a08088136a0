from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lab import Lab
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.experiment import load
from pipeline.protocol import Protocol
from pipeline.sweep import Row, write_table

GRID = [
    {"features": ["one", "two"], "head": "logistic", "C": [0.1, 1]},
    {"features": "two", "head": "mlp", "hidden": [[4], [4, 4]], "max_iter": 20, "scale": ["minmax", "none"]},
]


@pytest.fixture
def extracted(lab: Lab, change: Callable[..., None]) -> Lab:
    change("sweep", GRID)
    assert lab.run("extract") == 0, lab.err
    return lab


def table(lab: Lab) -> pd.DataFrame:
    return pd.read_csv(lab.folder / "sweep/experiment.csv")


def test_every_combination_is_tried_and_written(extracted: Lab) -> None:
    assert extracted.run("train_heads", "--sweep") == 0, extracted.err
    assert "8 settings on 3 folds" in extracted.out
    found = table(extracted)
    assert found["setting"].tolist() == [
        "logistic features=one C=0.1",
        "logistic features=one C=1",
        "logistic features=two C=0.1",
        "logistic features=two C=1",
        "mlp hidden=4 scale=minmax",
        "mlp hidden=4 scale=none",
        "mlp hidden=4,4 scale=minmax",
        "mlp hidden=4,4 scale=none",
    ]
    folds = found[["fold0", "fold1", "fold2"]]
    np.testing.assert_allclose(found["accuracy_mean"], folds.mean(axis=1), atol=1e-3)
    share = found["accuracy_mean"] / 100
    np.testing.assert_allclose(found["binomial_95"], 196 * np.sqrt(share * (1 - share) / 72), atol=0.01)
    assert (found["low_95_subjects"] <= found["accuracy_mean"]).all()
    assert "the best of many test figures is optimistic" in extracted.out
    assert not (extracted.folder / "models").exists()


def test_the_figures_are_those_of_the_head_by_hand(extracted: Lab) -> None:
    assert extracted.run("train_heads", "--sweep") == 0
    protocol = Protocol.of(load(extracted.folder / "experiment.yaml"))
    data = pd.read_csv(extracted.folder / "one.csv").set_index("clip_id").loc[protocol.labels.index]
    X = data.to_numpy(dtype=np.float32).astype(np.float64)
    for k, fold in enumerate(protocol.folds):
        test = protocol.subjects.isin(fold.test).to_numpy()
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=10000))
        plain.fit(X[~test], protocol.labels[~test])
        expected = 100 * plain.score(X[test], protocol.labels[test])
        assert table(extracted).loc[0, f"fold{k}"] == pytest.approx(expected, abs=1e-3)


def test_what_was_tried_is_not_tried_again(extracted: Lab) -> None:
    assert extracted.run("train_heads", "--sweep") == 0
    first = table(extracted)
    assert extracted.run("train_heads", "--sweep") == 0
    assert "24 of 24 are there" in extracted.out
    pd.testing.assert_frame_equal(table(extracted), first)
    next((extracted.folder / "sweep").glob("*.json")).unlink()
    assert extracted.run("train_heads", "--sweep") == 0
    assert "23 of 24 are there" in extracted.out
    pd.testing.assert_frame_equal(table(extracted), first)


def test_other_features_are_tried_anew(extracted: Lab) -> None:
    assert extracted.run("train_heads", "--sweep") == 0
    data = pd.read_csv(extracted.folder / "two.csv")
    data["f0"] += 1
    data.to_csv(extracted.folder / "two.csv", index=False)
    extracted.run("extract")
    assert extracted.run("train_heads", "--sweep") == 0
    assert "6 of 24 are there" in extracted.out


@pytest.mark.slow
def test_processes_give_the_same_table(extracted: Lab) -> None:
    assert extracted.run("train_heads", "--sweep", "--workers", "2") == 0, extracted.err
    first = table(extracted)
    for file in Path(extracted.folder / "sweep").glob("*.json"):
        file.unlink()
    assert extracted.run("train_heads", "--sweep", "--workers", "1") == 0
    pd.testing.assert_frame_equal(table(extracted), first)


def test_two_grids_of_one_head_are_told_apart(lab: Lab, change: Callable[..., None]) -> None:
    change("sweep", [{"features": "one", "head": "logistic"}, {"features": "two", "head": "logistic"}])
    settings = load(lab.folder / "experiment.yaml").experiment.settings()
    assert list(settings) == ["logistic", "logistic (grid 2)"]


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (
            {"features": "one", "head": "logistik"},
            r"logistik: unknown head 'logistik' \(did you mean 'logistic'",
        ),
        ({"features": "on", "head": "logistic"}, "no feature 'on'"),
        ({"features": "one", "head": "logistic", "K": [1, 2]}, "logistic has no option 'K'"),
        ({"features": "one", "head": "logistic", "C": ["much"]}, "much"),
        ({"features": "one"}, r"sweep\.0\.head is missing"),
    ],
)
def test_mistakes_in_a_grid_are_found_before_anything_starts(
    lab: Lab, change: Callable[..., None], entry: dict[str, object], complaint: str
) -> None:
    change("sweep", [entry])
    assert lab.run("train_heads", "--sweep") == 1
    import re

    assert re.search(complaint, lab.err), lab.err


def test_an_experiment_without_a_grid_says_so(lab: Lab) -> None:
    assert lab.run("train_heads", "--sweep") == 1
    assert "has no grid to try; add one under `sweep:`" in lab.err


def test_a_setting_is_no_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [Row("=cmd()", [0.5], 0.5, 0.1, (0.4, 0.6))])
    assert pd.read_csv(tmp_path / "a.csv")["setting"].tolist() == ["'=cmd()"]
