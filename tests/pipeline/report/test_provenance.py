import json

from lab import Lab

from affectstack.hashing import file_sha256
from pipeline.evaluation import evaluate
from pipeline.experiment import load
from pipeline.history import Stopwatch
from pipeline.report.provenance import identities, provenance


def test_inputs_features_commands_and_versions_are_named(lab: Lab) -> None:
    lab.document["features"]["none"] = {"modality": "video", "extractor": "fake"}
    lab.save()
    lab.all_stages()
    workspace = load(lab.folder / "experiment.yaml")
    run = evaluate(workspace)
    inputs, features, commands, versions = provenance(workspace, run, Stopwatch.start().entry(None))
    assert dict(inputs.rows)["manifest"] == f"manifest.csv, sha256 {file_sha256(lab.folder / 'manifest.csv')}"
    assert dict(inputs.rows)["seed"] == "0"
    assert [row[:2] for row in features.rows] == [("none", "fake"), ("one", "table"), ("two", "table")]
    assert features.rows[0][3].endswith("(UNTRAINED)")
    assert features.rows[1][5:] == ("72", "0")
    assert [row[0].split(" --")[0] for row in commands.rows][:3] == [
        "python -m pipeline.extract", "python -m pipeline.train_heads", "python -m pipeline.fuse",
    ]  # fmt: skip
    assert [row[-1] for row in commands.rows] == ["exit code 0"] * 3 + ["this report"]
    assert {"affectstack", "Python", "numpy", "torch"} <= {name for name, _ in versions.rows}


def test_every_setting_that_decides_a_figure_is_there(lab: Lab) -> None:
    lab.all_stages()
    workspace = load(lab.folder / "experiment.yaml")
    found = json.loads(identities(workspace, evaluate(workspace)))
    assert set(found["features"]) == {"one", "two"}
    assert found["heads"]["one-log"]["C"] == 1.0
    assert found["fusion"]["method"] == "logpool"


def test_licences_of_frozen_weights_are_those_of_their_cards(lab: Lab) -> None:
    from dataclasses import replace

    from pipeline.features import read_index
    from pipeline.report.provenance import _feature

    lab.all_stages()
    index = read_index(load(lab.folder / "experiment.yaml"), "one")
    known = {"extractor": "x3d_m", "weights": ["a.pyth", "b.pyth"]}
    assert _feature(replace(index, identity=known))[3:5] == ("a.pyth, b.pyth", "Apache-2.0")
    assert _feature(replace(index, identity={"extractor": "faces"}))[4] == "MIT"
    assert _feature(replace(index, identity=known, untrained=True))[4] == "–"
