"""Heads on the frames of two features, through the whole road."""

import copy
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from lab import Lab, run_stages
from sequence_lab import DOCUMENT, WITHOUT_FACE, write_sequences

from pipeline import posteriors
from pipeline.degraded import read_degraded
from pipeline.experiment import load
from pipeline.head_data import load_data
from pipeline.protocol import Protocol
from pipeline.sweep import Sweep
from pipeline.training import _parts, fold_jobs


@pytest.fixture(scope="session")
def sequences_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequences")
    write_sequences(folder)
    run_stages(folder, DOCUMENT, failed=True)
    return folder


@pytest.fixture
def done(
    tmp_path: Path,
    sequences_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Lab:
    """The lab of sequences after all stages."""
    shutil.copytree(sequences_folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Lab(tmp_path, copy.deepcopy(DOCUMENT), capsys, monkeypatch)


def test_clips_that_lack_a_feature_are_tested_all_the_same(done: Lab) -> None:
    for head in ("ia", "both"):
        table = posteriors.read(done.folder / "posteriors" / f"{head}.parquet")
        tested = [clip for k in (0, 1) for clip in table.part("test", k)[0]]
        assert len(tested) == 32
        assert set(WITHOUT_FACE) <= set(tested)
        assert table.about.missing_clips == []
        assert table.about.remarks == ["2 of 32 clips lack feature 'face'"]
    metrics = json.loads((done.folder / "reports/latest/metrics.json").read_text())
    assert "clips: ia: 2 of 32 clips lack feature 'face'" in metrics["flags"]


def test_the_report_says_what_is_left_without_each_input(done: Lab) -> None:
    html = (done.folder / "reports/latest/report.html").read_text()
    assert "Heads without one of their inputs" in html
    workspace = load(done.folder / "experiment.yaml")
    found = read_degraded(workspace, "ia", Protocol.of(workspace))
    assert [(d.feature, d.how) for d in found] == [
        (feature, how)
        for feature in ("voice", "face")
        for how in ("intact", "absent", "zeros", "noise", "added noise")
    ]
    for d in found:
        assert d.interval[0] <= d.accuracy <= d.interval[1]
    assert [d.drop for d in found if d.how == "intact"] == [0, 0]
    assert [d.changed for d in found if d.how == "intact"] == [0, 0]
    whole = found[0].accuracy
    assert found[1].drop == pytest.approx(whole - found[1].accuracy)
    assert read_degraded(workspace, "nobody", Protocol.of(workspace)) == []


def test_what_another_head_of_this_name_left_is_not_reported(done: Lab) -> None:
    done.document["heads"]["ia"] = {"features": "voice", "head": "temporal-cnn"}
    done.save()
    workspace = load(done.folder / "experiment.yaml")
    assert read_degraded(workspace, "ia", Protocol.of(workspace)) == []


def test_a_lost_table_is_made_anew(done: Lab) -> None:
    place = done.folder / "models/ia/fold1/degraded.parquet"
    before = pd.read_parquet(place)
    place.unlink()
    assert done.run("train_heads") == 0
    assert "3 of 4 are there" in done.out
    pd.testing.assert_frame_equal(pd.read_parquet(place), before)


def test_a_sweep_tries_rates_on_data_of_their_own(done: Lab) -> None:
    done.document["sweep"] = [
        {"features": "voice", "head": "temporal-cnn", "rate": [2.5, 10], "max_epochs": 1},
        {"features": "voice", "head": "bilstm", "max_epochs": 1, "hidden": 4},
    ]
    done.save()
    assert done.run("train_heads", "--sweep", "--workers", "1") == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if "temporal-cnn" in line]
    assert len(rows) == 2
    tried = Sweep(load(done.folder / "experiment.yaml"))
    assert len({job.fingerprint for own in tried.jobs.values() for job in own}) == 6


def test_sequences_without_times_cannot_be_cut(done: Lab) -> None:
    for key in ("start", "end"):
        done.document["features"]["voice"].pop(key)
    done.document["heads"]["ia"]["rate"] = 5
    done.save()
    assert done.run("extract", "audio") == 0, done.err
    assert done.run("train_heads") == 1
    assert "its rows have no times, which `rate` and `longest` need" in done.err


def test_degraded_rows_are_of_clips_that_have_both_and_of_their_own_fold(done: Lab) -> None:
    workspace = load(done.folder / "experiment.yaml")
    folds = workspace.folds(workspace.labelled())
    for fold in folds:
        rows = pd.read_parquet(done.folder / f"models/ia/fold{fold.index}/degraded.parquet")
        assert {clip.split("-")[0] for clip in rows["clip_id"]} <= set(fold.test)
        assert not set(WITHOUT_FACE) & set(rows["clip_id"])


def test_longer_sequences_are_cut_and_counted(done: Lab) -> None:
    args = ("--set", "heads.*.longest=1.6", "--set", "heads.*.cut=start", "--set", "fusion.sources=[ia]")
    assert done.run("train_heads", *args) == 0, done.err
    assert "clips feature 'voice' is cut to 1.6 s (start)" in done.out
    workspace = load(done.folder / "experiment.yaml", [a for a in args if a != "--set"])
    data = load_data(workspace, workspace.labelled(), "ia")
    assert max(len(voice.values) for voice, _ in data.inputs) == 16  # type: ignore[union-attr,misc]
    assert max(len(face.values) for _, face in data.inputs if face is not None) == 8  # type: ignore[union-attr,misc]


def test_sequences_are_brought_to_a_rate_where_that_is_asked_for(done: Lab) -> None:
    workspace = load(done.folder / "experiment.yaml", ["heads.ia.rate=2.5"])
    voice, face = load_data(workspace, workspace.labelled(), "ia").inputs[1]  # type: ignore[misc]
    for frames in (voice, face):
        assert (frames.times[:, 1] - frames.times[:, 0]).tolist() == pytest.approx([0.4] * len(frames.times))


def test_a_rate_says_nothing_to_a_head_of_means(done: Lab) -> None:
    done.document["heads"]["plain"] = {"features": "voice", "head": "logistic", "rate": 5}
    done.save()
    assert done.run("train_heads") == 1
    assert (
        "heads.plain: logistic reads means over time, so `rate` and `longest` say nothing to it" in done.err
    )


def test_a_hole_in_one_frame_costs_the_clip_that_feature(done: Lab) -> None:
    voice = pd.read_csv(done.folder / "voice.csv")
    row = voice.index[voice["clip_id"] == "s1-happy-0"][3]
    voice.loc[row, "b"] = None
    voice.to_csv(done.folder / "voice.csv", index=False)
    assert done.run("extract", "audio") == 2
    assert "column 'b' is empty" in done.out
    assert done.run("train_heads") == 0, done.err
    assert "1 of 32 clips lack feature 'voice'" in done.out
    table = posteriors.read(done.folder / "posteriors/ia.parquet")
    assert "s1-happy-0" in [clip for k in (0, 1) for clip in table.part("test", k)[0]]


def test_no_clip_with_both_is_refused_by_the_one_and_said_by_the_other(done: Lab) -> None:
    face = pd.read_csv(done.folder / "face.csv")
    voice = pd.read_csv(done.folder / "voice.csv")
    takes = face["clip_id"].str[-1]
    face[takes != "0"].to_csv(done.folder / "face.csv", index=False)
    voice[voice["clip_id"].str[-1] == "0"].to_csv(done.folder / "voice.csv", index=False)
    assert done.run("extract", "all", "--max-failed", "90%") == 2
    assert done.run("train_heads") == 1
    assert "head 'ia', fold 0: no training clip has both inputs" in done.err
    assert "`head: versatile`" in done.err
    done.document["heads"].pop("ia")
    done.save()
    assert done.run("train_heads") == 0, done.err
    assert "fold 0: no training clip has both inputs and a label; answers are averaged" in done.out
    assert done.run("fuse", "--report", "--no-duplicates") == 0, done.err
    assert "Heads without one of their inputs" not in (done.folder / "reports/latest/report.html").read_text()


def test_an_input_that_a_whole_test_fold_lacks_costs_nothing_else(done: Lab) -> None:
    workspace = load(done.folder / "experiment.yaml")
    tested = workspace.folds(workspace.labelled())[0].test
    face = pd.read_csv(done.folder / "face.csv")
    face[~face["clip_id"].str[:2].isin(list(tested))].to_csv(done.folder / "face.csv", index=False)
    assert done.run("extract", "face", "--max-failed", "90%") == 2
    done.document["heads"].pop("ia")
    done.save()
    assert done.run("train_heads") == 0, done.err
    assert "of 32 clips lack feature 'face'" in done.out
    assert "no training clip has the second input and a label" in done.out  # of the other fold
    assert len(posteriors.read(done.folder / "posteriors/both.parquet").part("test", 0)[0]) == 16


def test_clips_without_a_label_are_learned_from_and_never_tested(done: Lab) -> None:
    manifest = pd.read_csv(done.folder / "manifest.csv")
    bare = ["s1-angry-0", "s2-happy-1", "s5-angry-1"]
    manifest.loc[manifest["clip_id"].isin(bare), "emotion"] = ""
    manifest.to_csv(done.folder / "manifest.csv", index=False)
    assert done.run("train_heads") == 1
    assert "is empty; every clip needs a label (`unlabelled: keep` in the experiment" in done.err
    done.document["unlabelled"] = "keep"
    done.save()
    assert done.run("train_heads") == 0, done.err
    assert "3 clips have no label; they are learned from, and tested on never" in done.out
    for head, learns in (("ia", False), ("both", True)):
        table = posteriors.read(done.folder / f"posteriors/{head}.parquet")
        assert not set(bare) & set(table.rows["clip_id"])
        assert any("training clips have no label" in r for r in table.about.remarks) == learns
    assert done.run("fuse", "--no-duplicates", "--report") == 0, done.err


def test_clips_without_a_label_of_a_tested_subject_teach_nothing(done: Lab) -> None:
    manifest = pd.read_csv(done.folder / "manifest.csv")
    manifest.loc[manifest["clip_id"] == "s1-angry-0", "emotion"] = ""
    manifest.to_csv(done.folder / "manifest.csv", index=False)
    workspace = load(done.folder / "experiment.yaml", ["unlabelled=keep"])
    data = load_data(workspace, workspace.labelled(), "both")
    protocol = Protocol.of(workspace)
    for job in fold_jobs(workspace, "both", data, list(protocol.folds), protocol.targets):
        bare = data.clip_ids.index("s1-angry-0")
        for rows in _parts(job, data).values():
            assert not (rows[bare] and "s1" in job.fold.test)


def test_votes_are_learned_where_the_experiment_says_so(done: Lab) -> None:
    manifest = pd.read_csv(done.folder / "manifest.csv")
    manifest["votes:angry"] = (manifest["emotion"] == "angry") * 0.6 + 0.2
    manifest["votes:happy"] = 1 - manifest["votes:angry"]
    manifest.to_csv(done.folder / "manifest.csv", index=False)
    hard = posteriors.read(done.folder / "posteriors/ia.parquet").part("test", 0)[1]
    assert done.run("train_heads", "--set", "heads.ia.soft=true") == 0, done.err
    soft = posteriors.read(done.folder / "posteriors/ia.parquet").part("test", 0)[1]
    assert abs(hard - soft).max() > 0.01
    manifest.loc[3, "votes:happy"] = None
    manifest.to_csv(done.folder / "manifest.csv", index=False)
    assert done.run("train_heads", "--set", "heads.ia.soft=true") == 1
    assert "are no shares of votes" in done.err


def test_a_head_that_cannot_learn_votes_says_which_can(done: Lab) -> None:
    done.document["heads"]["plain"] = {"features": "voice", "head": "logistic", "soft": True}
    done.save()
    assert done.run("train_heads") == 1
    assert "heads.plain: logistic does not learn from shares of votes" in done.err
    assert "self-attention" in done.err


def test_two_features_are_needed(done: Lab) -> None:
    done.document["heads"]["ia"]["features"] = "voice"
    done.save()
    assert done.run("train_heads") == 1
    assert "heads.ia: self-attention reads 2 features (frames, frames), but 1 are named" in done.err
