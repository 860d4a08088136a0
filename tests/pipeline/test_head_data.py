"""What heads read: one feature, several side by side, or one for each input."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lab import Lab

from affectstack import AffectstackError
from pipeline.experiment import load
from pipeline.features import FeatureError
from pipeline.head_data import HeadData, load_data
from pipeline.options import ConfigError

Change = Callable[..., None]
FAKE = {"modality": "video", "extractor": "fake"}


def data_of(lab: Lab, head: str) -> HeadData:
    workspace = load(lab.folder / "experiment.yaml")
    return load_data(workspace, workspace.labelled(), head)


@pytest.fixture
def lengths(lab: Lab, change: Change) -> Lab:
    """Features of five and of three rows, as wide as those of three cameras by two networks."""
    change("features", {"mvit": {**FAKE, "dim": 2304, "rows": 5}, "x3d": {**FAKE, "dim": 6144, "seed": 1}})
    change("heads", {
        "rows": {"features": ["mvit", "x3d"], "head": "bilstm"},
        "means": {"features": ["mvit", "x3d"], "head": "logistic"},
        "two": {"features": ["mvit", "x3d"], "head": "concat", "max_epochs": 1},
        "mvit": {"features": "mvit", "head": "bilstm"},
        "x3d": {"features": "x3d", "head": "logistic"},
        "mvit-mean": {"features": "mvit", "head": "logistic"},
        "x3d-rows": {"features": "x3d", "head": "bilstm"},
    })  # fmt: skip
    assert lab.run("extract") == 0, lab.err
    return lab


def test_rows_of_two_networks_stand_side_by_side_on_the_shorter_grid(lengths: Lab) -> None:
    joined, mvit, x3d = (data_of(lengths, h) for h in ("rows", "mvit", "x3d-rows"))
    assert joined.clip_ids == mvit.clip_ids
    for one, left, right in zip(joined.inputs, mvit.inputs, x3d.inputs, strict=True):
        assert np.shape(one) == (3, 8448)
        np.testing.assert_array_equal(
            one, np.hstack([np.asarray(left)[:3], right])
        )  # in the order of the file


def test_averages_of_two_features_are_of_all_their_rows(lengths: Lab) -> None:
    joined, mvit, x3d = (data_of(lengths, h) for h in ("means", "mvit-mean", "x3d"))
    for one, left, right in zip(joined.inputs, mvit.inputs, x3d.inputs, strict=True):
        np.testing.assert_array_equal(one, np.concatenate([left, right]))


def test_a_head_of_two_inputs_gets_a_vector_and_rows(lengths: Lab) -> None:
    both, mvit, x3d = (data_of(lengths, h) for h in ("two", "mvit-mean", "x3d-rows"))
    for one, left, right in zip(both.inputs, mvit.inputs, x3d.inputs, strict=True):
        assert isinstance(one, tuple)
        np.testing.assert_array_equal(one[0], left)
        np.testing.assert_array_equal(one[1], right)


def test_rows_of_other_times_are_refused(lengths: Lab, change: Change) -> None:
    table = pd.DataFrame(
        {"clip_id": [f"s0-angry-{i}" for i in range(4)] * 2, "x": 1.0, "at": [0.0] * 4 + [4.0] * 4}
    )
    table["to"] = table["at"] + 1
    table.to_csv(lengths.folder / "late.csv", index=False)
    late = {
        "modality": "au",
        "extractor": "table",
        "path": "late.csv",
        "columns": ["x"],
        "start": "at",
        "end": "to",
    }
    change("features.late", late)
    change("heads.rows.features", ["mvit", "late"])
    lengths.run("extract", "au", "--max-failed", "100%")
    with pytest.raises(
        FeatureError, match="head 'rows': features 'mvit' and 'late': clip s0-angry-0: rows of the same"
    ):
        data_of(lengths, "rows")


def test_a_clip_that_one_feature_lacks_is_missing(lab: Lab, change: Change) -> None:
    change("features.two", {"modality": "audio", "extractor": "fake", "fault": "error", "on": ["s0-angry-0"]})
    change("heads", {"both": {"features": ["one", "two"], "head": "logistic"}})
    assert lab.run("extract") == 2
    found = data_of(lab, "both")
    ((clip_id, why),) = found.missing.items()
    assert clip_id == "s0-angry-0"
    assert re.fullmatch(r"not in feature 'two', see features/fake/\w+/failures.csv", why)
    assert len(found.clip_ids) == 71


@pytest.mark.parametrize("head", ["means", "two"])
def test_speaker_norm_is_of_each_feature(lengths: Lab, change: Change, head: str) -> None:
    change(f"heads.{head}.speaker_norm", True)
    found = data_of(lengths, head)
    rows = [np.atleast_2d(part) for x in found.inputs[:12] for part in (x if isinstance(x, tuple) else (x,))]
    for width in {r.shape[1] for r in rows}:
        own = np.concatenate([r for r in rows if r.shape[1] == width])
        np.testing.assert_allclose(
            own.mean(axis=0), 0, atol=1e-6
        )  # the first twelve clips are of one subject
        np.testing.assert_allclose(own.std(axis=0), 1, atol=1e-5)


def test_the_whole_road_with_several_features(lengths: Lab, change: Change) -> None:
    for name in ("rows", "mvit", "x3d", "mvit-mean", "x3d-rows"):
        del lengths.document["heads"][name]
    lengths.save()
    assert lengths.run("train_heads") == 0, lengths.err
    assert lengths.run("train_heads") == 0
    assert "6 of 6 are there" in lengths.out
    assert lengths.run("fuse", "--report") == 0, lengths.err


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"features": ["one", "too"], "head": "logistic"}, "heads.h: no feature 'too' in this experiment"),
        (
            {"features": "one", "head": "concat"},
            r"heads.h: concat reads 2 features \(static, sequence\), but 1 are",
        ),
        ({"features": [], "head": "logistic"}, "heads.h.features"),
    ],
)
def test_features_that_do_not_fit_a_head_are_refused(
    lab: Lab, change: Change, head: dict[str, Any], message: str
) -> None:
    change("heads.h", head)
    with pytest.raises(ConfigError, match=message):
        load(lab.folder / "experiment.yaml")


def test_a_feature_that_has_seen_a_test_subject_is_refused_wherever_it_stands(
    lab: Lab, change: Change
) -> None:
    change("features.two", {**FAKE, "trained_on": ["s3"]})
    change("heads", {"both": {"features": ["one", "two"], "head": "logistic"}})
    assert lab.run("extract") == 0
    assert lab.run("train_heads") == 1
    assert "feature 'two' has seen subject s3 in training" in lab.err


# Classes that are left out


def test_dropped_classes_are_in_no_head_and_no_figure(lab: Lab, change: Change) -> None:
    assert lab.run("extract") == 0
    change("drop", ["sad"])
    assert lab.run("extract") == 0
    assert "72 of 72 clips are there already" in lab.out  # features are of all clips
    assert lab.run("train_heads") == 0, lab.err
    assert lab.run("fuse", "--report") == 0, lab.err
    assert "left out: no figure counts clips of class sad" in lab.out
    table = pd.read_parquet(lab.folder / "posteriors" / "one-log.parquet")
    assert not table["clip_id"].str.contains("sad").any()
    assert {c for c in table if c.startswith("p:")} == {"p:angry", "p:happy"}


def test_a_class_that_is_nobodys_cannot_be_dropped(lab: Lab, change: Change) -> None:
    change("drop", ["saad"])
    with pytest.raises(AffectstackError, match=r"no clip has emotion 'saad' \(did you mean 'sad'\?\)"):
        data_of(lab, "one-log")


def test_not_all_classes_can_be_dropped(lab: Lab, change: Change) -> None:
    change("drop", ["angry", "happy", "sad"])
    with pytest.raises(AffectstackError, match="without 'angry', 'happy', 'sad' no clip is left"):
        data_of(lab, "one-log")
