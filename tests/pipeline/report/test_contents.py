import pandas as pd
import pytest
from lab import Lab

from pipeline.audit import COLUMNS
from pipeline.evaluation import Run, evaluate
from pipeline.experiment import load
from pipeline.report import contents
from pipeline.report.contents import percent
from pipeline.report.tables import Table
from pipeline.subsets import measure, subsets_of


@pytest.fixture
def run(fused: Lab) -> Run:
    return evaluate(load(fused.folder / "experiment.yaml"))


def row(table: Table, name: str) -> dict[str, str]:
    (found,) = [r for r in table.rows if r[0] == name]
    return dict(zip(table.columns, found, strict=True))


def test_the_protocol_is_said_in_words(run: Run) -> None:
    text = contents.protocol(run)
    assert text.startswith(
        "Mean of 3 folds by subject (3 folds by subject, seed 0): every one of 72 clips was"
    )
    assert "6 subjects, 3 classes, chance 33.3 %. Fused by logpool from 2 sources, nested." in text
    assert f"[{percent(run.fusion.interval[0])}, {percent(run.fusion.interval[1])}]" in text


def test_folds_recalls_and_confusions_are_those_of_the_scores(run: Run) -> None:
    fused = row(contents.fold_table(run), "fused (logpool)")
    assert [fused[f"fold {k}"] for k in range(3)] == [percent(a) for a in run.fusion.accuracy_folds]
    assert fused["mean"] == percent(run.fusion.accuracy_mean)
    recalls = row(contents.recall_table(run), "one-log")
    assert recalls["sad"] == percent(run.sources["one-log"].recalls["sad"])
    confusion = row(contents.confusion_table(run), "happy")
    assert [confusion[c] for c in run.classes] == [str(n) for n in run.fusion.confusion[1]]


def test_models_know_their_own_training_clips(run: Run) -> None:
    splits = run.splits["one-log"]
    found = row(contents.split_table(run), "one-log")
    assert found["own training clips"] == percent(splits["train"])
    assert found["training over test, points"] == f"{100 * (splits['train'] - splits['test']):+.1f}"
    assert splits["test"] == pytest.approx(run.sources["one-log"].accuracy)


def test_what_a_source_changes_is_what_is_lost_without_it(run: Run) -> None:
    subsets = list(measure(run, subsets_of(list(run.sources))))
    (alone,) = [s for s in subsets if s.sources == ("two-log",)]
    found = row(contents.weight_table(run, subsets), "one-log")
    assert (found["decisions changed"], found["made right"]) == (str(alone.changed), str(alone.lost))
    worth = alone.whole - alone.scores.accuracy_mean
    assert found["worth, points"] == f"{100 * worth:+.1f}"
    weights = [fold.fitted.source_weights()[0] for fold in run.folds if fold.fitted]  # type: ignore[index]
    assert found["weight, mean of folds (range)"].startswith(f"{sum(weights) / 3:.2f} (")


def test_every_subset_is_a_row(run: Run) -> None:
    subsets = list(measure(run, subsets_of(list(run.sources))))
    table = contents.subset_table(run, subsets)
    assert [r[0] for r in table.rows] == ["one-log, two-log", "one-log", "two-log"]
    assert table.note.startswith("Every subset of the sources")
    assert contents.subset_table(run, subsets[:2]).note.startswith("Small and nearly whole subsets")


def audited(*remarks: str) -> pd.DataFrame:
    rows = [{**dict.fromkeys(COLUMNS), "feature": "f", "clip_id": f"c{i}", "view": "", "remarks": r}
            for i, r in enumerate(remarks)]  # fmt: skip
    return pd.DataFrame(rows, columns=["feature", *COLUMNS])


def test_the_audit_shows_what_is_odd() -> None:
    table = contents.audit_table(audited("", "partly decoded", "variable rate"))
    assert [r[0] for r in table.rows] == ["c2"]
    assert table.rows[0][-1] == "variable rate"
    assert "f: 3 clips, 1 odd." in table.note


def test_of_many_odd_clips_some_are_shown_and_all_counted() -> None:
    table = contents.audit_table(audited(*["variable rate"] * 60))
    assert len(table.rows) == 50
    assert "f: 60 clips, 60 odd. 10 more are in audit.csv beside the features." in table.note


def test_without_media_the_audit_says_so() -> None:
    assert "No feature here has one: none decodes media" in contents.audit_table(audited()).note
