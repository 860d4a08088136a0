"""Experiments on attributes: the whole road, its leak laws, and what it refuses."""

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import value_lab
from lab import Lab

from affectstack.concordance import concordance
from classifiers import HEADS
from pipeline import posteriors
from pipeline.experiment import load
from pipeline.options import ConfigError
from pipeline.protocol import Protocol
from pipeline.targets import Targets
from pipeline.training import said_by
from pipeline.value_evaluation import evaluate_values, paired
from pipeline.workspace import Workspace


def metrics(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((lab.folder / "reports/latest/metrics.json").read_text())
    return found


def workspace(lab: Lab) -> Workspace:
    return load(lab.folder / "experiment.yaml")


def change_manifest(lab: Lab, **columns: Any) -> None:
    path = lab.folder / "manifest.csv"
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


# The road


def test_all_stages_run_and_the_fusion_is_better_than_any_source(values: Lab) -> None:
    values.all_stages()
    found = metrics(values)
    best = max(s["mean_ccc"]["value"] for s in found["sources"].values())
    assert found["fusion"]["mean_ccc"]["value"] > best + 0.05
    assert re.search(r"fused by linear, nested: CCC \.\d\d \[\.\d\d, \.\d\d\] arousal, \.", values.out)
    assert (values.folder / "reports/latest/report.html").is_file()


def test_figures_are_those_of_the_stored_values(valued: Lab) -> None:
    fused = pd.read_parquet(valued.folder / "reports/latest/fused.parquet")
    truth = pd.read_csv(valued.folder / "manifest.csv").set_index("clip_id").loc[fused["clip_id"]]
    for name, own in metrics(valued)["fusion"]["attributes"].items():
        np.testing.assert_array_equal(fused[f"truth:{name}"], truth[name])
        found = concordance(fused[f"v:{name}"].to_numpy(), truth[name].to_numpy())
        assert own["ccc"]["value"] == pytest.approx(float(found))
    assert fused["subject"].tolist() == truth["subject"].tolist()


def test_finished_folds_are_not_trained_again_and_the_table_says_what_it_holds(valued: Lab) -> None:
    assert valued.run("train_heads") == 0, valued.err
    assert "6 of 6 are there" in valued.out
    table = posteriors.read(valued.folder / "posteriors/one-ridge.parquet")
    assert (table.about.attributes, table.about.classes) == (list(value_lab.ATTRIBUTES), [])
    assert list(table.rows.columns)[-2:] == ["v:arousal", "v:valence"]
    clips, said = table.part("test", 0)
    assert said.shape == (len(clips), 2)


@pytest.mark.parametrize("head", ["svr", "mlp-regression"])
def test_every_head_goes_the_road_with_speaker_norm_and_two_features(values: Lab, head: str) -> None:
    settings = {"C": [1, 3]} if head == "svr" else {"max_iter": 20}
    spec = {"features": ["one", "two"], "head": head, "speaker_norm": True, **settings}
    values.document |= {"heads": {"both": spec}, "fusion": {}}
    values.save()
    values.all_stages()
    assert metrics(values)["fusion"]["method"] == "mean"
    assert any(flag.startswith("transductive") for flag in metrics(values)["flags"])


def test_clips_without_features_are_named_and_dropped_or_marginalised(values: Lab) -> None:
    table = pd.read_csv(values.folder / "one.csv")
    table[table["clip_id"] != "s0-00"].to_csv(values.folder / "one.csv", index=False)
    assert values.run("extract") == 2
    assert values.run("train_heads") == 0, values.err
    assert "1 clips without features" in values.out
    assert values.run("fuse") == 1
    assert "'one-ridge' lacks 1 (s0-00)" in values.err
    assert values.run("fuse", "--missing", "drop") == 0, values.err
    assert metrics(values)["fusion"]["clips"] == 71
    assert values.run("fuse", "--missing", "marginalise") == 0, values.err
    assert metrics(values)["fusion"]["clips"] == 72


@pytest.mark.parametrize("stacking", ["nested", "cross-fitted", "in-sample"])
def test_grades_of_stacking_stand_beside_each_other(valued: Lab, stacking: str) -> None:
    assert valued.run("fuse", "--set", f"fusion.stacking={stacking}") == 0, valued.err
    found = metrics(valued)
    assert set(found["beside"]) == {"nested", "cross-fitted", "in-sample"} - {stacking}
    assert any(flag.startswith(stacking) for flag in found["flags"]) == (stacking != "nested")


def test_pairs_are_compared_on_the_same_draws(valued: Lab) -> None:
    run = evaluate_values(workspace(valued))
    first, second = run.sources.values()
    pair = next(p for p in run.pairs if (p.first, p.second) == ("one-ridge", "two-ridge"))
    assert pair.difference.value == pytest.approx(first.mean_ccc.value - second.mean_ccc.value)
    assert pair.difference.interval == pytest.approx(np.percentile(first.drawn - second.drawn, [2.5, 97.5]))
    same = paired(("a", first), ("b", first), run.protocol)
    assert same is not None
    assert (same.difference.value, *same.difference.interval) == (0, 0, 0)


# The leak rule


def test_a_source_that_has_seen_test_subjects_is_refused(valued: Lab) -> None:
    path = valued.folder / "posteriors/one-ridge.parquet"
    table = posteriors.read(path)
    tested = table.about.test_subjects[0][0]
    for note in table.about.models:
        if note.outer_fold == 0:
            note.seen_subjects.append(tested)
    posteriors.write(path, table)
    assert valued.run("fuse") == 1
    assert f"had seen subject {tested}" in valued.err


def test_exchanged_values_cannot_be_predicted(values: Lab) -> None:
    frame = pd.read_csv(values.folder / "manifest.csv")
    order = np.random.default_rng(1).permutation(len(frame))
    change_manifest(values, **{a: frame[a].to_numpy()[order] for a in value_lab.ATTRIBUTES})
    assert values.run("extract") == 0
    assert values.run("train_heads") == 0, values.err
    assert values.run("fuse") == 0, values.err
    found = metrics(values)
    for system in (found["fusion"], *found["sources"].values()):
        assert abs(system["mean_ccc"]["value"]) < 0.2


def test_the_control_falls_to_chance(valued: Lab) -> None:
    control = metrics(valued)["exchanged_values_control"]
    assert abs(control["ccc"] - control["by_chance"]) < 0.1
    assert valued.run("fuse", "--set", "fusion.method=mean") == 0, valued.err
    assert metrics(valued)["exchanged_values_control"] is None


def test_test_clips_decide_nothing_that_is_fitted(values: Lab) -> None:
    """Other features and values of the test subjects of a fold leave its model and its fusion as they are."""
    values.all_stages()
    before = _fitted(values)
    tested = Protocol.of(workspace(values)).folds[0].test
    frame = pd.read_csv(values.folder / "manifest.csv")
    rows = frame["subject"].isin(tested).to_numpy()
    change_manifest(values, arousal=np.where(rows, 6 - frame["arousal"], frame["arousal"]))
    for name in ("one", "two"):
        table = pd.read_csv(values.folder / f"{name}.csv")
        table.loc[rows, ["a", "b"]] *= 3
        table.to_csv(values.folder / f"{name}.csv", index=False)
    values.all_stages()
    for now, then in zip(_fitted(values), before, strict=True):
        np.testing.assert_array_equal(now, then)


def _fitted(lab: Lab) -> list[Any]:
    """Return what the models and the fusion of fold 0 have learned."""
    found: list[Any] = []
    for name in ("one-ridge", "two-ridge"):
        head: Any = HEADS["ridge-regression"].load(lab.folder / f"models/{name}/fold0")
        found += [head.scaler_.mean_, head.centre_, head.spread_, *(m.coef_ for m in head.machines_)]
    fuser: Any = evaluate_values(workspace(lab)).folds[0].fitted
    return [*found, fuser.weights_, fuser.intercepts_]


# What is refused


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", ["a", "b"], "`attributes` and `classes` exclude each other"),
        ("drop", ["a"], "`attributes` and `drop` exclude each other"),
        ("label", "emotion", "`attributes` and `label` exclude each other"),
        ("attributes", ["arousal", "arousal"], "each once"),
        ("imported", ["theirs"], "`imported` takes experiments on classes only"),
        ("sweep", [{"features": "one", "head": "svr"}], "`sweep` takes experiments on classes only"),
        ("fusion", {"method": "logpool"}, "logpool fuses posteriors; values are fused by one of linear"),
        ("fusion", {"method": "linaer"}, "(did you mean 'linear'?)"),
        ("fusion", {"temperature": True}, "a temperature calibrates posteriors"),
        ("heads", {"h": {"features": "one", "head": "svc"}}, "svc does not predict values"),
        ("heads", {"h": {"features": "one", "head": "svc"}}, "(did you mean 'svr'?)"),
        ("heads", {"h": {"features": "one", "head": "bilstm"}}, "known: mlp-regression, ridge-regr"),
    ],
)  # fmt: skip
def test_an_experiment_that_cannot_be_is_refused_before_anything_runs(
    values: Lab, key: str, value: Any, message: str
) -> None:
    values.document[key] = value
    values.save()
    assert values.run("extract") == 1
    assert message in values.err
    assert len(values.err.strip().splitlines()) == 1
    assert not (values.folder / "features").exists()


def test_a_head_of_values_is_refused_where_classes_are_wanted(lab: Lab) -> None:
    lab.document["heads"]["one-log"]["head"] = "svr"
    lab.save()
    assert lab.run("train_heads") == 1
    assert "svr does not predict classes, and this experiment is about classes" in lab.err


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("train_heads", "--sweep"), "`train_heads --sweep`"),
        (("resplit",), "`resplit`"),
        (("finetune", "audio"), "`finetune`"),
        (("serve",), "`serve`"),
        (("posteriors.__main__", "import", "x.csv", "--format", "csv", "--name", "x"), "`posteriors import`"),
    ],
)
def test_commands_for_classes_say_so_in_one_line(values: Lab, command: tuple[str, ...], what: str) -> None:
    assert values.run(*command) == 1
    assert f"is about attributes (arousal, valence); {what} takes experiments on classes only" in values.err
    assert len(values.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arousal": ["high"] + ["1"] * 71}, "line 2, column 'arousal': 'high' is no finite number"),
        ({"arousal": [""] + ["1"] * 71}, "is empty; every clip needs a value"),
        ({"arousal": 3.0}, "attribute 'arousal' is 3 in all training clips; expected at least 2 values"),
        ({"subject": "s0"}, "3 folds need at least 3 subjects, the manifest has 1"),
    ],
)
def test_bad_values_are_refused_in_words(values: Lab, columns: dict[str, Any], message: str) -> None:
    assert values.run("extract") == 0
    change_manifest(values, **columns)
    assert values.run("train_heads") == 1
    assert message in values.err


def test_an_absent_attribute_is_refused_with_a_suggestion(values: Lab) -> None:
    values.document["attributes"] = ["arousal", "valense"]
    values.save()
    assert values.run("extract") == 0
    assert values.run("train_heads") == 1
    assert "no column 'valense' with values of an attribute (did you mean 'valence'?)" in values.err


def test_other_values_want_other_models(valued: Lab) -> None:
    frame = pd.read_csv(valued.folder / "manifest.csv")
    frame.loc[0, "arousal"] += 0.01
    frame.to_csv(valued.folder / "manifest.csv", index=False)
    assert valued.run("fuse") == 1
    assert "other labels, subjects or folds" in valued.err
    assert valued.run("train_heads") == 0, valued.err
    assert "0 of 6 are there" in valued.out


def test_other_attributes_want_other_models(valued: Lab) -> None:
    valued.document["attributes"] = ["arousal"]
    valued.save()
    assert valued.run("fuse") == 1
    valued.all_stages()
    assert metrics(valued)["attributes"] == ["arousal"]


def test_values_export_with_their_names(valued: Lab) -> None:
    args = ("export", "one-ridge", "--format", "npy", "--out", "out")
    assert valued.run("posteriors.__main__", *args) == 0, valued.err
    assert json.loads((valued.folder / "out/one-ridge.attributes.json").read_text()) == ["arousal", "valence"]
    table = posteriors.read(valued.folder / "posteriors/one-ridge.parquet")
    stored = np.load(valued.folder / "out/one-ridge.npy")
    np.testing.assert_array_equal(stored, table.rows[["v:arousal", "v:valence"]].to_numpy())


def test_an_experiment_is_about_classes_or_attributes(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="attributes"):
        load(lab.folder / "experiment.yaml", ["attributes=[arousal]"])


def test_values_are_told_by_name_whatever_order_a_head_learned_them_in() -> None:
    rng = np.random.default_rng(0)
    y = pd.DataFrame(rng.normal([0, 9], size=(30, 2)), columns=["valence", "arousal"])
    X = y.to_numpy(np.float32)
    said = said_by(HEADS["ridge-regression"]().fit(X, y), X, Targets(attributes=value_lab.ATTRIBUTES))
    assert (np.abs(said - y[list(value_lab.ATTRIBUTES)]) < 1).to_numpy().all()


def test_clips_without_values_are_left_out_where_they_are_kept(values: Lab) -> None:
    frame = pd.read_csv(values.folder / "manifest.csv")
    frame.loc[:3, list(value_lab.ATTRIBUTES)] = np.nan
    frame.to_csv(values.folder / "manifest.csv", index=False)
    assert values.run("extract") == 0
    assert values.run("train_heads") == 1
    assert "is empty; every clip needs a value" in values.err
    values.document["unlabelled"] = "keep"
    values.save()
    values.all_stages()
    assert metrics(values)["fusion"]["clips"] == 68


def test_votes_are_for_classes(values: Lab) -> None:
    values.document["heads"]["one-ridge"]["soft"] = True
    values.save()
    assert values.run("train_heads") == 1
    assert "heads.one-ridge: `soft` shares votes among classes, and attributes have none" in values.err
