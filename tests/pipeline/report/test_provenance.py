import json

import pandas as pd
import pytest
from lab import Lab

from affectstack.hashing import file_sha256
from extractors.weights import card
from pipeline.evaluation import evaluate
from pipeline.experiment import load
from pipeline.history import Stopwatch
from pipeline.report.provenance import _licence, _weights, identities, provenance

WAV2VEC2 = card("wav2vec2")


def test_inputs_features_commands_and_versions_are_named(lab: Lab) -> None:
    lab.document["features"]["none"] = {"modality": "video", "extractor": "fake"}
    lab.save()
    lab.all_stages()
    workspace = load(lab.folder / "experiment.yaml")
    run = evaluate(workspace)
    inputs, features, commands, versions = provenance(workspace, run, Stopwatch.start().entry(None))
    assert dict(inputs.rows)["manifest"] == f"manifest.csv, sha256 {file_sha256(lab.folder / 'manifest.csv')}"
    assert dict(inputs.rows)["seed"] == "0"
    assert [row[:2] for row in features.rows] == [("one", "table"), ("two", "table")]  # what was fused
    assert features.rows[0][3:] == ("none", "–", "72", "0")
    assert [row[0].split(" --")[0] for row in commands.rows][:3] == [
        "python -m pipeline.extract", "python -m pipeline.train_heads", "python -m pipeline.fuse",
    ]  # fmt: skip
    assert [row[-1] for row in commands.rows] == ["exit code 0"] * 3 + ["this report"]
    assert {"affectstack", "Python", "numpy", "torch"} <= {name for name, _ in versions.rows}


def test_every_setting_that_decides_a_figure_is_there(fused: Lab) -> None:
    workspace = load(fused.folder / "experiment.yaml")
    found = json.loads(identities(workspace, evaluate(workspace)))
    assert set(found["features"]) == {"one", "two"}
    assert found["heads"]["one-log"]["C"] == 1.0
    assert found["fusion"]["method"] == "logpool"


@pytest.mark.parametrize(
    ("extractor", "weights", "shown", "licence"),
    [
        ("x3d_m", ["a.pyth", "b.pyth"], "a.pyth, b.pyth", "Apache-2.0, if they are X3D-M, Kinetics-400"),
        ("x3d_m", "random", "random (UNTRAINED)", "–"),
        ("faces", None, "MTCNN, the face detector of facenet-pytorch", "MIT"),
        ("opensmile", None, "none", "openSMILE: research only"),
        ("logmel", None, "none", "–"),
        ("wav2vec2", "my-own-checkpoint", "my-own-checkpoint", "if they are"),
        ("wav2vec2", f"{WAV2VEC2.hub}@{WAV2VEC2.revision}", WAV2VEC2.hub, WAV2VEC2.licence),
    ],
)
def test_a_licence_is_stated_of_weights_that_are_known_to_be_the_published_ones(
    extractor: str, weights: object, shown: str, licence: str
) -> None:
    assert shown in _weights(extractor, weights)
    assert _licence(extractor, weights).endswith(licence) or licence in _licence(extractor, weights)
    if "if" not in licence:
        assert "if" not in _licence(extractor, weights)


def test_features_are_those_that_the_heads_learned_from(fused: Lab) -> None:
    lab = fused
    values = pd.read_csv(lab.folder / "one.csv")
    values.assign(f0=0.0).to_csv(lab.folder / "other.csv", index=False)
    lab.document["features"]["one"]["path"] = "other.csv"
    lab.save()
    assert lab.run("extract") == 0
    assert lab.run("fuse", "--report") == 1
    assert "head 'one-log' was trained on 'one' as it was before it was extracted with another" in lab.err
    assert "run: python -m pipeline.train_heads" in lab.err
    assert lab.run("train_heads") == 0
    assert lab.run("fuse", "--report") == 0
