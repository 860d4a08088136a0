import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lab import CLASSES, SUBJECTS, Lab

from fusion.rules import Mean
from manifests import Manifest
from pipeline import posteriors
from pipeline.evaluation import fuse_and_score
from pipeline.experiment import load
from pipeline.protocol import Protocol
from pipeline.sections import FusionSpec


def metrics(lab: Lab) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((lab.folder / "reports/latest/metrics.json").read_text())
    return value


def rewrite(lab: Lab, head: str, change: Callable[[pd.DataFrame], pd.DataFrame], **about: Any) -> None:
    """Change a posterior table behind the pipeline's back."""
    path = lab.folder / "posteriors" / f"{head}.parquet"
    table = posteriors.read(path)
    fields = {**vars(table.about), **about}
    posteriors.write(path, posteriors.PosteriorTable(change(table.rows), posteriors.About(**fields)))


def test_metrics_have_the_documented_shape(fused: Lab) -> None:
    found = metrics(fused)
    assert found["classes"] == list(CLASSES)
    assert set(found["sources"]) == {"one-log", "two-log"}
    assert found["flags"] == []
    assert found["fusion"]["method"] == "logpool"
    for scores in (*found["sources"].values(), found["fusion"]):
        assert len(scores["accuracy_folds"]) == 3
        assert scores["accuracy_mean"] == pytest.approx(np.mean(scores["accuracy_folds"]))
        assert 0 <= scores["uar"] <= 1
        assert 0 <= scores["macro_f1"] <= 1


def test_two_halves_of_the_truth_fuse_to_more_than_either(fused: Lab) -> None:
    found = metrics(fused)
    best = max(s["accuracy_mean"] for s in found["sources"].values())
    assert found["fusion"]["accuracy_mean"] > best + 0.1


def test_sides_that_a_column_names_run_all_stages(lab: Lab, change: Callable[..., None]) -> None:
    """Two subjects are tested, two are those from which the fusion learns, and the others train."""
    file = lab.folder / "manifest.csv"
    manifest = Manifest.read_csv(file)
    words = dict(zip(SUBJECTS, ["train", "Train", "dev", "Development", "Test", "test"], strict=True))
    manifest.with_column("side", [words[s] for s in manifest.frame["subject"]]).write_csv(file)
    change("folds", "side")
    lab.all_stages()
    inner = posteriors.read(lab.folder / "posteriors/one-log.parquet").rows
    subjects = inner["clip_id"].map(manifest.subjects())
    assert set(subjects[inner["split"] == "oof"]) == set(SUBJECTS[2:4])
    assert set(subjects[inner["split"] == "test"]) == set(SUBJECTS[4:])
    found = metrics(lab)
    assert found["flags"] == []
    assert len(found["fusion"]["accuracy_folds"]) == 1


def test_metrics_agree_with_the_tables_they_were_made_from(fused: Lab) -> None:
    table = pd.read_parquet(fused.folder / "reports/latest/fused.parquet")
    guesses = table[posteriors.columns(CLASSES)].idxmax(axis=1).str[2:]
    right = guesses == table["clip_id"].str.split("-").str[1]
    assert (table["label"] == table["clip_id"].str.split("-").str[1]).all()
    folds = right.groupby(table["outer_fold"]).mean().tolist()
    assert metrics(fused)["fusion"]["accuracy_folds"] == pytest.approx(folds)
    recalls = right.groupby(table["label"]).mean()
    assert metrics(fused)["fusion"]["uar"] == pytest.approx(recalls.mean())


def test_latest_points_to_the_newest_of_several_runs(fused: Lab) -> None:
    first = (fused.folder / "reports/latest").resolve()
    assert fused.run("fuse") == 0
    latest = fused.folder / "reports/latest"
    assert latest.is_symlink()
    assert not Path(latest.readlink()).is_absolute()
    assert latest.resolve() != first
    assert first.is_dir()


@pytest.mark.parametrize(
    "method", ["mean", "product", "max", "vote", "weighted", "logpool", "logistic", "svc", "mlp", "mmer"]
)
def test_every_method_runs_from_the_command_line(fused: Lab, method: str) -> None:
    assert fused.run("fuse", "--set", f"fusion.method={method}") == 0, fused.err
    assert metrics(fused)["fusion"]["method"] == method
    assert f"fused by {method}" in fused.out


def test_in_sample_stacking_is_flagged_and_the_nested_figure_stands_beside_it(fused: Lab) -> None:
    nested = metrics(fused)["fusion"]["accuracy_mean"]
    assert fused.run("fuse", "--report", "--set", "fusion.stacking=in-sample") == 0
    found = metrics(fused)
    assert [f for f in found["flags"] if f.startswith("in-sample: ")]
    assert found["beside"]["nested"]["accuracy_mean"] == nested
    page = (fused.folder / "reports/latest/report.html").read_text()
    assert '<span class="unseen">red:</span> stacking</span>' in page
    assert "the same fusion, nested" in page


def test_cross_fitted_stacking_is_flagged(fused: Lab) -> None:
    assert fused.run("fuse", "--set", "fusion.stacking=cross-fitted") == 0
    assert [f for f in metrics(fused)["flags"] if f.startswith("cross-fitted: ")]


def test_rules_learn_nothing_so_no_grade_applies(fused: Lab) -> None:
    assert fused.run("fuse", "--set", "fusion.method=mean", "--set", "fusion.stacking=in-sample") == 0
    assert metrics(fused)["flags"] == []


def test_transductive_and_untrained_sources_are_flagged(lab: Lab, change: Callable[..., None]) -> None:
    change("heads.two-log.speaker_norm", True)
    change("features.none", {"modality": "video", "extractor": "fake"})
    change("heads.none-log", {"features": "none", "head": "logistic"})
    lab.all_stages()
    flags = metrics(lab)["flags"]
    assert [f for f in flags if f.startswith("transductive: ") and "two-log" in f and "one-log" not in f]
    assert [f for f in flags if f.startswith("untrained: ") and "none-log" in f]
    page = (lab.folder / "reports/latest/report.html").read_text()
    assert "transductive" in page
    assert "untrained" in page


def test_a_head_that_was_not_trained_names_the_command(lab: Lab) -> None:
    assert lab.run("fuse") == 1
    assert "head 'one-log' was not trained yet; run: python -m pipeline.train_heads" in lab.err


def test_a_head_trained_with_other_settings_is_refused(fused: Lab) -> None:
    assert fused.run("fuse", "--set", "heads.one-log.C=5") == 1
    assert "head 'one-log' was trained with other settings (C: 1.0 -> 5.0)" in fused.err


def test_sources_whose_clips_differ_are_refused_with_the_ids(fused: Lab) -> None:
    rewrite(fused, "one-log", lambda rows: rows[rows["clip_id"] != "s4-sad-1"])
    assert fused.run("fuse") == 1
    assert "'one-log' lacks 1 (s4-sad-1)" in fused.err
    assert "--missing drop" in fused.err


def test_missing_clips_can_be_dropped_and_are_flagged(fused: Lab) -> None:
    rewrite(fused, "one-log", lambda rows: rows[rows["clip_id"] != "s4-sad-1"])
    assert fused.run("fuse", "--set", "fusion.missing=drop") == 0
    assert [f for f in metrics(fused)["flags"] if f.startswith("dropped: 1 clips") and "s4-sad-1" in f]
    table = pd.read_parquet(fused.folder / "reports/latest/fused.parquet")
    assert len(table) == 71


def test_row_order_and_column_order_of_a_source_do_not_matter(fused: Lab) -> None:
    before = metrics(fused)["fusion"]
    turned = ["sad", "angry", "happy"]
    keys = ["clip_id", "outer_fold", "inner_fold", "split"]
    rewrite(
        fused,
        "two-log",
        lambda rows: rows.sample(frac=1, random_state=0)[keys + posteriors.columns(turned)],
        classes=turned,
    )
    assert fused.run("fuse") == 0
    assert metrics(fused)["fusion"]["confusion"] == before["confusion"]


def test_sources_whose_classes_differ_are_refused_naming_both(fused: Lab) -> None:
    renamed = ["angry", "happy", "bored"]
    rewrite(fused, "two-log", lambda rows: rows.rename(columns={"p:sad": "p:bored"}), classes=renamed)
    assert fused.run("fuse") == 1
    assert "source 'two-log' has classes angry, happy, bored; expected angry, happy, sad" in fused.err


def test_sources_of_different_folds_are_refused(fused: Lab) -> None:
    table = posteriors.read(fused.folder / "posteriors/two-log.parquet")
    swapped = table.about.test_subjects[::-1]
    rewrite(fused, "two-log", lambda rows: rows, test_subjects=swapped)
    assert fused.run("fuse") == 1
    assert "were tested on different folds" in fused.err


@pytest.mark.parametrize("split", ["test", "oof"])
def test_a_row_whose_model_had_seen_its_subject_is_refused(fused: Lab, split: str) -> None:
    table = posteriors.read(fused.folder / "posteriors/one-log.parquet")
    inner = -1 if split == "test" else 0
    row = table.rows[(table.rows["split"] == split) & (table.rows["inner_fold"] == inner)].iloc[0]
    subject = row["clip_id"].split("-")[0]
    models = [
        posteriors.ModelNote(
            m.outer_fold,
            m.inner_fold,
            [*m.seen_subjects, subject]
            if (m.outer_fold, m.inner_fold) == (row["outer_fold"], inner)
            else m.seen_subjects,
        )
        for m in table.about.models
    ]
    rewrite(fused, "one-log", lambda rows: rows, models=models)
    assert fused.run("fuse") == 1
    assert f"is a {split} row of fold" in fused.err
    assert f"had seen subject {subject}" in fused.err


def test_posteriors_without_oof_rows_are_refused_with_the_way_out(fused: Lab) -> None:
    rewrite(fused, "one-log", lambda rows: rows[rows["split"] != "oof"])
    assert fused.run("fuse") == 1
    assert "source 'one-log' has no oof rows for fold 0" in fused.err
    assert "cross-fitted" in fused.err
    assert fused.run("fuse", "--set", "fusion.stacking=cross-fitted") == 0


def test_a_model_that_nothing_is_known_about_is_refused(fused: Lab) -> None:
    rewrite(fused, "one-log", lambda rows: rows, models=[])
    assert fused.run("fuse") == 1
    assert "without its training subjects they cannot be fused honestly" in fused.err


def test_posteriors_without_class_names_are_refused(fused: Lab) -> None:
    path = fused.folder / "posteriors/one-log.parquet"
    pd.read_parquet(path).to_parquet(path)
    assert fused.run("fuse") == 1
    assert "carries no class names" in fused.err


def test_in_sample_stacking_trusts_a_head_that_memorises(lab: Lab, change: Callable[..., None]) -> None:
    """The canary of stacking: a memorised noise source must not hurt the nested fusion."""
    rng = np.random.default_rng(1)
    clips = pd.read_csv(lab.folder / "one.csv")["clip_id"]
    noise = pd.DataFrame(rng.normal(size=(len(clips), 400)), columns=[f"n{i}" for i in range(400)])
    pd.concat([clips, noise], axis=1).to_csv(lab.folder / "noise.csv", index=False)
    change("features.noise", {"modality": "au", "extractor": "table", "path": "noise.csv"})
    change("heads.noise-log", {"features": "noise", "head": "logistic", "C": 100})
    change("fusion", {"method": "logpool", "prior": 0.01, "sources": ["one-log", "noise-log"]})
    lab.all_stages()
    honest = metrics(lab)
    weak = honest["sources"]["one-log"]["accuracy_mean"]
    assert honest["fusion"]["accuracy_mean"] >= weak - 0.02
    lab.run("fuse", "--set", "fusion.stacking=in-sample")
    assert metrics(lab)["fusion"]["accuracy_mean"] < honest["fusion"]["accuracy_mean"] - 0.05  # it bites


def test_permuted_labels_score_at_chance(lab: Lab) -> None:
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    rng = np.random.default_rng(3)
    manifest["emotion"] = rng.permutation(manifest["emotion"].to_numpy())
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    lab.all_stages()
    # 72 clips at 1/3: 99 % of chance runs stay below 0.48.
    assert metrics(lab)["fusion"]["accuracy_mean"] < 0.48


@pytest.mark.parametrize("changed", ["folds", "labels", "subjects"])
def test_posteriors_of_another_protocol_are_refused(
    fused: Lab, change: Callable[..., None], changed: str
) -> None:
    manifest = pd.read_csv(fused.folder / "manifest.csv")
    if changed == "folds":
        change("folds.k", 2)
    elif changed == "labels":
        manifest.loc[0, "emotion"] = "sad"
    else:
        manifest["subject"] = manifest["subject"].replace("s1", "s0")
    manifest.to_csv(fused.folder / "manifest.csv", index=False)
    assert fused.run("fuse") == 1
    assert "was made with other labels, subjects or folds" in fused.err


def test_inner_models_that_had_seen_a_test_subject_are_refused(fused: Lab) -> None:
    about = posteriors.read(fused.folder / "posteriors/one-log.parquet").about
    tested = about.test_subjects[0][0]
    models = [
        posteriors.ModelNote(m.outer_fold, m.inner_fold, [*m.seen_subjects, tested])
        if (m.outer_fold, m.inner_fold) == (0, 0)
        else m
        for m in about.models
    ]
    rewrite(fused, "one-log", lambda rows: rows, models=models)
    assert fused.run("fuse") == 1
    assert "this is not nested" in fused.err


def test_every_grade_that_the_sources_allow_stands_beside(fused: Lab) -> None:
    found = metrics(fused)
    assert set(found["beside"]) == {"cross-fitted", "in-sample"}
    assert fused.run("fuse") == 0
    assert "the same, in-sample: accuracy" in fused.out
    assert fused.run("fuse", "--set", "fusion.stacking=cross-fitted") == 0
    crossed = metrics(fused)
    assert set(crossed["beside"]) == {"nested", "in-sample"}
    assert crossed["beside"]["nested"]["accuracy_folds"] == found["fusion"]["accuracy_folds"]
    assert fused.run("fuse", "--set", "fusion.method=mean") == 0
    assert metrics(fused)["beside"] == {}


def test_every_pair_is_compared(fused: Lab) -> None:
    found = metrics(fused)
    pairs = {(p["first"], p["second"]): p for p in found["pairs"]}
    assert set(pairs) == {("fused", "one-log"), ("fused", "two-log"), ("one-log", "two-log")}
    gain = pairs["fused", "one-log"]
    only = gain["test"]["first_only"] - gain["test"]["second_only"]
    assert gain["difference"] == pytest.approx(only / 72)
    assert gain["difference"] == pytest.approx(
        found["fusion"]["accuracy"] - found["sources"]["one-log"]["accuracy"]
    )
    assert gain["interval"][0] <= gain["difference"] <= gain["interval"][1]
    assert found["all_right"] < min(s["accuracy"] for s in found["sources"].values())
    assert found["oracle"] > max(s["accuracy"] for s in found["sources"].values())


def test_exchanged_labels_fall_to_chance(fused: Lab) -> None:
    """RELIABILITY 4, case 27; three classes, every subject has as many clips of each."""
    assert metrics(fused)["permuted_label_control"]["accuracy"] == pytest.approx(1 / 3, abs=0.1)
    assert fused.run("fuse", "--report", "--set", "fusion.method=product") == 0
    assert metrics(fused)["permuted_label_control"] is None  # a rule learns nothing that could leak
    assert "exchanged" not in (fused.folder / "reports/latest/report.html").read_text()


def test_a_grade_that_cannot_be_had_costs_a_remark_not_the_run(fused: Lab) -> None:
    rewrite(fused, "two-log", lambda rows: rows[~((rows["split"] == "train") & (rows.index % 7 == 0))])
    assert fused.run("fuse") == 0, fused.err
    found = metrics(fused)
    assert set(found["beside"]) == {"cross-fitted"}
    assert [
        f for f in found["flags"] if f.startswith("not beside: in-sample is left out (fusion: the sources'")
    ]


class Memory(Mean):
    """Knows the rows that it was given by heart, and nothing else."""

    trainable = True

    def fit(self, P: Any, y: Any, groups: Any = None) -> Any:
        self.rows_ = {tuple(p.ravel()): int(label) for p, label in zip(P, y, strict=True)}
        return self

    def predict_proba(self, P: Any) -> Any:
        return np.eye(3)[[self.rows_.get(tuple(p.ravel()), 0) for p in P]]


def test_the_control_of_exchanged_labels_bites(fused: Lab) -> None:
    """Where test rows stand among the training rows, even exchanged labels are foretold."""
    protocol = Protocol.of(load(fused.folder / "experiment.yaml"))
    honest = [posteriors.read(fused.folder / f"posteriors/{n}-log.parquet") for n in ("one", "two")]
    leaky = []
    for table in honest:
        test = table.rows[table.rows["split"] == "test"]
        leaky.append(replace(table, rows=pd.concat([test, test.assign(split="train")])))
    spec = FusionSpec(method="mean", stacking="in-sample")
    controls = [fuse_and_score(tables, Memory(), spec, protocol).control for tables in (honest, leaky)]
    assert controls[0] is not None
    assert controls[1] is not None
    assert controls[0].accuracy < 0.5
    assert controls[1].accuracy > 0.9


def test_sources_are_calibrated_first_where_that_is_wished(fused: Lab) -> None:
    plain = metrics(fused)
    assert fused.run("fuse", "--set", "fusion.method=product", "--set", "fusion.temperature=true") == 0
    tempered = metrics(fused)
    assert tempered["fusion"]["temperature"] is True
    assert set(tempered["beside"]) == {"cross-fitted", "in-sample"}  # it learns now
    assert tempered["fusion"]["nll"] < plain["fusion"]["nll"] + 0.1
    assert fused.run("fuse", "--set", "fusion.method=mmer", "--set", "fusion.temperature=true") == 1
    assert "mmer takes what the models gave as it is" in fused.err
