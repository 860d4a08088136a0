"""The commands on the lab's corpus of three classes and six subjects."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lab import CLASSES, Lab

from pipeline import posteriors

CAPITALS = [c.capitalize() for c in sorted(CLASSES, reverse=True)]


def metrics(lab: Lab) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((lab.folder / "reports/latest/metrics.json").read_text())
    return value


def write_theirs(lab: Lab, without: int = 0) -> pd.DataFrame:
    """Write another system's posteriors, right on two clips of three."""
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    rng = np.random.default_rng(0)
    named = [c if rng.random() < 0.67 else rng.choice(CLASSES) for c in manifest["emotion"]]
    table = pd.DataFrame({c: [0.8 if n == c.lower() else 0.1 for n in named] for c in CAPITALS})
    table.insert(0, "clip_id", manifest["clip_id"])
    table = table[without:]
    table.to_csv(lab.folder / "theirs.csv", index=False)
    return table


def bring_in(lab: Lab, *more: str) -> int:
    return lab.run(
        "posteriors.__main__",
        "import",
        "theirs.csv",
        "--format",
        "csv",
        "--name",
        "theirs",
        "--others-trained",
        *more,
    )


def test_foreign_posteriors_are_fused_with_our_own(lab: Lab, change: Callable[..., None]) -> None:
    write_theirs(lab)
    assert bring_in(lab) == 0, lab.err
    assert "columns permuted by name: sad, happy, angry -> angry, happy, sad" in lab.out
    assert (
        "next: write `imported: [theirs]` into experiment.yaml, then python -m pipeline.fuse --report"
        in lab.out
    )
    change("imported", ["theirs"])
    change("fusion.stacking", "cross-fitted")
    lab.all_stages()
    found = metrics(lab)
    assert set(found["sources"]) == {"one-log", "two-log", "theirs"}
    alone = found["sources"]["theirs"]["accuracy_mean"]
    assert 0.6 < alone < 0.9
    assert found["fusion"]["accuracy_mean"] > alone


def test_imported_posteriors_alone_are_enough(lab: Lab, change: Callable[..., None]) -> None:
    write_theirs(lab)
    bring_in(lab)
    for key, value in (("heads", {}), ("imported", ["theirs"]), ("fusion", {"method": "mean"})):
        change(key, value)
    assert lab.run("fuse") == 0, lab.err
    assert "theirs: accuracy" in lab.out


def test_nested_stacking_of_imported_posteriors_says_what_to_do(
    lab: Lab, change: Callable[..., None]
) -> None:
    write_theirs(lab)
    bring_in(lab)
    for key, value in (("heads", {}), ("imported", ["theirs"])):
        change(key, value)
    assert lab.run("fuse") == 1
    assert "source 'theirs' has no oof rows" in lab.err
    assert "stacking: cross-fitted" in lab.err


def test_a_source_that_was_not_imported_names_the_command(lab: Lab, change: Callable[..., None]) -> None:
    change("imported", ["theirs"])
    change("fusion.sources", ["theirs"])
    assert lab.run("fuse") == 1
    assert "'theirs' was not imported yet; run: python -m pipeline.posteriors import PATH" in lab.err


def test_posteriors_of_another_protocol_are_refused(lab: Lab, change: Callable[..., None]) -> None:
    write_theirs(lab)
    bring_in(lab)
    change("imported", ["theirs"])
    change("fusion.sources", ["theirs"])
    change("folds", {"by": "subject", "k": 3, "seed": 1})
    assert lab.run("fuse") == 1
    assert "'theirs' was made with other labels, subjects or folds" in lab.err
    assert "import it again" in lab.err


def test_missing_clips_are_an_error_dropped_or_marginalised(lab: Lab, change: Callable[..., None]) -> None:
    theirs = write_theirs(lab, without=5)
    assert bring_in(lab) == 0
    assert "5 clips of the manifest have no test posteriors" in lab.out
    change("imported", ["theirs"])
    change("fusion.stacking", "cross-fitted")
    lab.run("extract")
    lab.run("train_heads")
    assert lab.run("fuse") == 1
    assert "--missing drop" in lab.err
    assert lab.run("fuse", "--missing", "drop") == 0, lab.err
    assert np.sum(metrics(lab)["fusion"]["confusion"]) == len(theirs)
    assert lab.run("fuse", "--missing", "marginalise") == 0, lab.err
    found = metrics(lab)
    assert np.sum(found["fusion"]["confusion"]) == len(theirs) + 5
    assert np.sum(found["sources"]["theirs"]["confusion"]) == len(theirs)
    assert [f for f in found["flags"] if f.startswith("marginalised: 5 clips")]
    assert lab.run("fuse", "--missing", "guess") == 1


@pytest.mark.parametrize("method", ["product", "weighted", "logpool", "logistic"])
def test_clips_that_lack_a_source_are_fused_as_if_it_did_not_exist(
    lab: Lab, change: Callable[..., None], method: str
) -> None:
    theirs = write_theirs(lab)
    lost = theirs["clip_id"].tolist()[:5]
    theirs[5:].to_csv(lab.folder / "theirs.csv", index=False)
    bring_in(lab)
    change("imported", ["theirs"])
    change("fusion", {"method": method, "stacking": "cross-fitted"})
    if method == "weighted":
        change("fusion.weights", [1, 2, 3])
    lab.run("extract")
    lab.run("train_heads")

    def fused() -> pd.DataFrame:
        table = pd.read_parquet(lab.folder / "reports/latest/fused.parquet").set_index("clip_id")
        return table.loc[lost, posteriors.columns(CLASSES)]

    assert lab.run("fuse", "--missing", "marginalise") == 0, lab.err
    marginalised = fused()
    change("fusion.sources", ["one-log", "two-log"])
    if method == "weighted":
        change("fusion.weights", [1, 2])
    assert lab.run("fuse") == 0
    # The fuser of the two learns from rows that have all of them either way.
    np.testing.assert_allclose(marginalised, fused(), atol=1e-6)


def test_a_head_is_not_overwritten(lab: Lab) -> None:
    write_theirs(lab)
    args = ("import", "theirs.csv", "--format", "csv", "--name", "one-log")
    assert lab.run("posteriors.__main__", *args) == 1
    assert "--name one-log: this is a head of experiment.yaml" in lab.err


def test_names_that_are_no_plain_names_are_refused(lab: Lab) -> None:
    args = ("import", "theirs.csv", "--format", "csv", "--name", "../evil")
    assert lab.run("posteriors.__main__", *args) == 1
    assert "--name ../evil: expected letters, digits" in lab.err


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("--rename", "Fear"), "expected THEIRS=OURS"),
        (("--key", "nothing"), "no column 'nothing'"),
    ],
)
def test_wrong_options_are_refused(lab: Lab, args: tuple[str, ...], complaint: str) -> None:
    write_theirs(lab)
    assert bring_in(lab, *args) == 1
    assert complaint in lab.err


def test_a_key_is_for_tables_with_named_columns(lab: Lab) -> None:
    args = ("import", ".", "--format", "mmer-static", "--name", "x", "--key", "y")
    assert lab.run("posteriors.__main__", *args) == 1
    assert "--key is for --format csv" in lab.err


def test_tables_are_listed(lab: Lab, change: Callable[..., None]) -> None:
    lab.all_stages()
    write_theirs(lab)
    bring_in(lab)
    assert lab.run("posteriors.__main__", "ls") == 0
    assert lab.out.splitlines() == [
        "one-log: logistic, 144 oof, 72 test, 144 train",
        "theirs: imported from csv, 72 test",
        "two-log: logistic, 144 oof, 72 test, 144 train",
    ]
    change("folds.seed", 5)
    assert lab.run("posteriors.__main__", "ls") == 0
    assert "one-log: logistic, 144 oof, 72 test, 144 train, of other labels, subjects or folds" in lab.out


def test_what_is_exported_comes_back(lab: Lab) -> None:
    lab.all_stages()
    for form in ("csv", "parquet", "npy"):
        assert lab.run("posteriors.__main__", "export", "one-log", "--format", form, "--out", "out") == 0, (
            lab.err
        )
    table = posteriors.read(lab.folder / "posteriors/one-log.parquet")
    assert posteriors.read(lab.folder / "out/one-log.parquet").about == table.about
    columns = posteriors.columns(CLASSES)
    values = np.load(lab.folder / "out/one-log.npy")
    np.testing.assert_array_equal(values, table.rows[columns])
    rows = pd.read_csv(lab.folder / "out/one-log.rows.csv")
    assert rows["clip_id"].tolist() == table.rows["clip_id"].tolist()
    assert json.loads((lab.folder / "out/one-log.classes.json").read_text()) == list(CLASSES)
    args = ("import", "out/one-log.csv", "--format", "csv", "--name", "again")
    assert lab.run("posteriors.__main__", *args) == 0, lab.err
    again = posteriors.read(lab.folder / "posteriors/again.parquet")
    for fold in range(3):
        for split in ("test", "train"):
            np.testing.assert_allclose(again.part(split, fold)[1], table.part(split, fold)[1])  # type: ignore[arg-type]


def test_a_table_that_is_not_there_is_named(lab: Lab) -> None:
    assert lab.run("posteriors.__main__", "export", "x", "--format", "csv", "--out", "out") == 1
    assert "no posteriors called 'x'; there are: none" in lab.err
