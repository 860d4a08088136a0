import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from lab import CLASSES, SUBJECTS, Lab

from pipeline import posteriors


def trained(lab: Lab, head: str = "one-log") -> posteriors.PosteriorTable:
    assert lab.run("extract") == 0, lab.err
    assert lab.run("train_heads") == 0, lab.err
    return posteriors.read(lab.folder / "posteriors" / f"{head}.parquet")


def test_every_clip_is_tested_once_and_every_training_clip_has_one_oof_row_per_fold(lab: Lab) -> None:
    rows = trained(lab).rows
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    test = rows[rows["split"] == "test"]
    assert sorted(test["clip_id"]) == sorted(manifest["clip_id"])
    for fold in range(3):
        of_fold = rows[rows["outer_fold"] == fold]
        tested = set(of_fold[of_fold["split"] == "test"]["clip_id"])
        rest = sorted(set(manifest["clip_id"]) - tested)
        assert sorted(of_fold[of_fold["split"] == "oof"]["clip_id"]) == rest
        assert sorted(of_fold[of_fold["split"] == "train"]["clip_id"]) == rest


def test_no_model_has_seen_the_subjects_it_predicts(lab: Lab) -> None:
    table = trained(lab)
    seen = {(m.outer_fold, m.inner_fold): set(m.seen_subjects) for m in table.about.models}
    assert len(seen) == 3 * (1 + 2)
    for row in table.rows.itertuples():
        if row.split != "train":
            assert row.clip_id.split("-")[0] not in seen[(row.outer_fold, row.inner_fold)]


def test_inner_models_have_not_seen_the_test_subjects_either(lab: Lab) -> None:
    table = trained(lab)
    for model in table.about.models:
        assert not set(model.seen_subjects) & set(table.about.test_subjects[model.outer_fold])


def test_the_table_says_what_it_is(lab: Lab) -> None:
    about = trained(lab).about
    assert about.classes == list(CLASSES)
    assert sorted(s for fold in about.test_subjects for s in fold) == sorted(SUBJECTS)
    assert about.head["head"] == "logistic"
    assert about.head["C"] == 1.0
    assert about.features["identity"]["extractor"] == "table"
    assert not about.transductive
    assert not about.untrained


def test_columns_follow_the_experiments_class_order(lab: Lab, change: Callable[..., None]) -> None:
    change("classes", ["sad", "angry", "happy"])
    table = trained(lab)
    assert [c for c in table.rows if c.startswith("p:")] == ["p:sad", "p:angry", "p:happy"]
    test = table.rows[table.rows["split"] == "test"]
    guesses = test[["p:sad", "p:angry", "p:happy"]].idxmax(axis=1).str[2:]
    truth = test["clip_id"].str.split("-").str[1]
    assert (guesses == truth).mean() > 0.6


def test_finished_folds_are_not_trained_again_unless_something_changed(
    lab: Lab, change: Callable[..., None]
) -> None:
    trained(lab)
    assert lab.run("train_heads") == 0
    assert "6 of 6 are there" in lab.out
    change("heads.one-log.C", 0.01)
    assert lab.run("train_heads") == 0
    assert "3 of 6 are there" in lab.out


def test_a_lost_fold_is_trained_again_to_the_same_table(lab: Lab) -> None:
    before = trained(lab).rows
    (lab.folder / "models/one-log/fold1/fold.json").unlink()
    assert lab.run("train_heads") == 0
    assert "5 of 6 are there" in lab.out
    pd.testing.assert_frame_equal(before, posteriors.read(lab.folder / "posteriors/one-log.parquet").rows)


def test_processes_give_the_same_posteriors_as_one(lab: Lab) -> None:
    before = trained(lab).rows
    for note in lab.folder.glob("models/*/*/fold.json"):
        note.unlink()
    assert lab.run("train_heads", "--workers", "2") == 0, lab.err
    after = posteriors.read(lab.folder / "posteriors/one-log.parquet").rows
    pd.testing.assert_frame_equal(before, after, rtol=1e-6)


def test_test_clips_change_nothing_that_is_learned(lab: Lab) -> None:
    """The mutation test of the leak rule: spoil the test clips of a fold, and its model stays the same."""
    table = trained(lab)
    fold = 0
    held = set(table.about.test_subjects[fold])
    before = table.rows[(table.rows["outer_fold"] == fold) & (table.rows["split"] != "test")]
    values = pd.read_csv(lab.folder / "one.csv")
    spoiled = values["clip_id"].str.split("-").str[0].isin(held)
    values.loc[spoiled, ["f0", "f1", "f2"]] = 1e3
    values.to_csv(lab.folder / "one.csv", index=False)
    after = trained(lab).rows
    after = after[(after["outer_fold"] == fold) & (after["split"] != "test")]
    pd.testing.assert_frame_equal(before.reset_index(drop=True), after.reset_index(drop=True))


def test_a_feature_that_was_not_extracted_names_the_command(lab: Lab) -> None:
    lab.run("extract", "au")
    assert lab.run("train_heads") == 1
    assert "feature 'two' was not extracted yet; run: python -m pipeline.extract audio" in lab.err


def test_a_feature_extracted_with_other_settings_is_refused(lab: Lab, change: Callable[..., None]) -> None:
    lab.run("extract")
    change("features.one.columns", ["f0", "f1"])
    assert lab.run("train_heads") == 1
    assert "feature 'one' was extracted with other settings (columns: None -> ['f0', 'f1'])" in lab.err


def test_features_that_have_seen_a_test_subject_are_refused(lab: Lab, change: Callable[..., None]) -> None:
    change("features.one.trained_on", ["s2"])
    lab.run("extract")
    assert lab.run("train_heads") == 1
    assert "feature 'one' has seen subject s2 in training, who is a test subject of fold" in lab.err
    assert not (lab.folder / "posteriors").exists()


def test_features_that_have_seen_only_training_subjects_pass_and_are_remembered(
    lab: Lab, change: Callable[..., None]
) -> None:
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    manifest["held"] = manifest["subject"].map({"s0": "a", "s1": "b"}).fillna("")
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    change("folds", "held")
    change("features.one.trained_on", ["s5"])
    table = trained(lab)
    assert all("s5" in m.seen_subjects for m in table.about.models)


def test_clips_without_features_are_counted_not_hidden(lab: Lab, change: Callable[..., None]) -> None:
    values = pd.read_csv(lab.folder / "one.csv").iloc[2:]
    values.to_csv(lab.folder / "one.csv", index=False)
    assert lab.run("extract") == 2
    assert lab.run("train_heads") == 0
    assert "(2 clips without features)" in lab.out
    about = posteriors.read(lab.folder / "posteriors/one-log.parquet").about
    assert about.missing_clips == ["s0-angry-0", "s0-angry-1"]
    (line,) = about.missing_by_reason()
    assert line.endswith("failures.csv (s0-angry-0, s0-angry-1)")
    assert f"    {line}" in lab.out


def test_clips_whose_rows_are_all_invalid_count_as_missing(lab: Lab, change: Callable[..., None]) -> None:
    values = pd.read_csv(lab.folder / "one.csv")
    values["ok"] = (values["clip_id"] != "s0-angry-0").astype(int)
    values.to_csv(lab.folder / "one.csv", index=False)
    change("features.one.valid", "ok")
    about = trained(lab).about
    assert about.missing_clips == ["s0-angry-0"]
    assert about.missing_by_reason() == ["no valid row of feature 'one' (s0-angry-0)"]


def test_speaker_norm_is_marked_transductive_and_undoes_a_speakers_offset(
    lab: Lab, change: Callable[..., None]
) -> None:
    values = pd.read_csv(lab.folder / "one.csv")
    subject = values["clip_id"].str.split("-").str[0]
    for i, name in enumerate(SUBJECTS):
        values.loc[subject == name, ["f0", "f1", "f2"]] += 30 * (-1) ** i
    values.to_csv(lab.folder / "one.csv", index=False)
    plain = accuracy(trained(lab))
    change("heads.one-log.speaker_norm", True)
    normed = trained(lab)
    assert normed.about.transductive
    assert "(transductive)" in lab.out
    assert accuracy(normed) > plain + 0.1


def accuracy(table: posteriors.PosteriorTable) -> float:
    test = table.rows[table.rows["split"] == "test"]
    guesses = test[posteriors.columns(table.about.classes)].idxmax(axis=1).str[2:]
    return float((guesses == test["clip_id"].str.split("-").str[1]).mean())


def test_a_signal_of_the_subject_alone_scores_no_better_than_chance(
    lab: Lab, change: Callable[..., None]
) -> None:
    """The canary of subject-wise folds: labels that follow the subject cannot be learned across subjects."""
    change("folds", "loso")
    change("inner_folds", 5)
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    labels = {s: CLASSES[i % 3] for i, s in enumerate(SUBJECTS)}
    manifest["emotion"] = manifest["subject"].map(labels)
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    values = pd.read_csv(lab.folder / "one.csv")
    code = values["clip_id"].str[1].astype(int)
    for i in range(5):
        values[f"f{i}"] = (code * (i + 2)) % 7
    values.to_csv(lab.folder / "one.csv", index=False)
    lab.run("extract")
    assert lab.run("train_heads") == 0, lab.err
    table = posteriors.read(lab.folder / "posteriors/one-log.parquet")
    test = table.rows[table.rows["split"] == "test"].merge(manifest, on="clip_id")
    train = table.rows[table.rows["split"] == "train"].merge(manifest, on="clip_id")
    columns = posteriors.columns(CLASSES)
    assert (test[columns].idxmax(axis=1).str[2:] == test["emotion"]).mean() <= 1 / 3 + 0.05
    assert (train[columns].idxmax(axis=1).str[2:] == train["emotion"]).mean() > 0.9  # the test bites


def test_sequence_heads_get_sequences(lab: Lab, change: Callable[..., None]) -> None:
    change("heads", {"one-seq": {"features": "one", "head": "bilstm", "hidden": 4, "max_epochs": 2}})
    table = trained(lab, "one-seq")
    assert len(table.rows[table.rows["split"] == "test"]) == 72
    assert (lab.folder / "models/one-seq/fold0/head.safetensors").is_file()
    assert all(m.held_out for m in table.about.models)
    assert all(set(m.held_out) <= set(m.seen_subjects) for m in table.about.models)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("emotion", "bored", "is an unknown label"),
        ("clip_id", "s0-angry-1", "is a duplicate of line"),
        ("video", "../x.mp4", "leaves the corpus root"),
        ("video", "/etc/x.mp4", "is absolute"),
    ],
)
def test_a_broken_manifest_stops_every_stage_before_it_starts(
    lab: Lab, column: str, value: str, message: str
) -> None:
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    manifest["video"] = ""
    manifest.loc[0, column] = value
    lab.run("extract")
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    assert lab.run("train_heads") == 1
    assert message in lab.err
    assert "nothing was started" in lab.err
    assert not (lab.folder / "posteriors").exists()


def test_a_subject_in_two_folds_is_an_error(lab: Lab, change: Callable[..., None]) -> None:
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    manifest["part"] = ["a" if i % 2 else "b" for i in range(len(manifest))]
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    change("folds", "part")
    lab.run("extract")
    assert lab.run("train_heads") == 1
    assert "column 'part' puts subject 's0' into folds 'a' and 'b'" in lab.err


def test_models_and_notes_lie_where_the_design_says(lab: Lab) -> None:
    trained(lab)
    for fold in range(3):
        folder = lab.folder / "models/one-log" / f"fold{fold}"
        assert {p.name for p in folder.iterdir()} == {"fold.json", "head.skops", "posteriors.parquet"}
        assert json.loads((folder / "fold.json").read_text())["models"]


def test_trained_on_that_is_added_later_is_not_forgotten(lab: Lab, change: Callable[..., None]) -> None:
    trained(lab)
    change("features.one.trained_on", ["s2"])
    assert lab.run("extract", "au") == 0
    assert lab.run("train_heads") == 1
    assert "has seen subject s2" in lab.err


def test_trained_on_that_names_a_stranger_is_refused(lab: Lab, change: Callable[..., None]) -> None:
    change("features.one.trained_on", ["S2"])
    assert lab.run("extract") == 1
    assert "trained_on names 'S2'; the manifest has no such subject" in lab.err


def test_values_that_changed_are_trained_again(lab: Lab) -> None:
    trained(lab)
    values = pd.read_csv(lab.folder / "one.csv")
    values["f0"] += 1
    values.to_csv(lab.folder / "one.csv", index=False)
    assert lab.run("extract", "au") == 0
    assert lab.run("train_heads") == 0
    assert "3 of 6 are there" in lab.out


def test_a_fold_without_test_clips_is_refused_before_training(lab: Lab, change: Callable[..., None]) -> None:
    change("folds", "loso")
    values = pd.read_csv(lab.folder / "one.csv")
    values[~values["clip_id"].str.startswith("s3-")].to_csv(lab.folder / "one.csv", index=False)
    assert lab.run("extract", "--max-failed", "50%") == 2
    assert lab.run("train_heads") == 1
    assert "fold 3 has no test clip with features (subjects s3)" in lab.err
    assert not (lab.folder / "models").exists()


def test_a_head_that_is_trained_for_all_folds_at_once_gives_the_same_table(
    lab: Lab, change: Callable[..., None]
) -> None:
    """The batched perceptron beside scikit-learn's: same rows and subjects, nearly the same posteriors."""
    for name, head in (("loop", "mlp"), ("batch", "mlp-batched")):
        change(f"heads.{name}", {"features": "one", "head": head, "hidden": [6], "max_iter": 20})
    assert lab.run("extract") == 0
    assert lab.run("train_heads") == 0, lab.err
    loop, batch = (posteriors.read(lab.folder / f"posteriors/{n}.parquet") for n in ("loop", "batch"))
    assert batch.about.models == loop.about.models
    keys = ["clip_id", "outer_fold", "inner_fold", "split"]
    pd.testing.assert_frame_equal(batch.rows[keys], loop.rows[keys])
    columns = posteriors.columns(batch.about.classes)
    np.testing.assert_allclose(batch.rows[columns], loop.rows[columns], atol=1e-3)
    (lab.folder / "models/batch/fold1/fold.json").unlink()
    assert lab.run("train_heads") == 0
    assert "11 of 12 are there" in lab.out
    again = posteriors.read(lab.folder / "posteriors/batch.parquet")
    np.testing.assert_allclose(again.rows[columns], batch.rows[columns], atol=1e-4)
