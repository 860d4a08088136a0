import json
import sys
from pathlib import Path

import pytest
from lab import Lab

sys.path.append(str(Path(__file__).parents[1] / "extractors"))
from network_makers import lively_weights, narrow, write_config

from pipeline.experiment import load
from pipeline.options import ConfigError
from pipeline.pins import pin, refuse_other_weights, used_weights

A, B = "a" * 64, "b" * 64


def test_the_first_use_pins_and_says_so(lab: Lab) -> None:
    space = load(lab.folder / "experiment.yaml")
    lines = pin(space, "one", {"weights": "x.pyth", "weights_sha256": A})
    assert lines == [f"pinned x.pyth, sha256 {A}; compare it with what its source states"]
    assert json.loads((lab.folder / "weights.lock").read_text()) == {"one": {"x.pyth": [A]}}
    assert pin(space, "one", {"weights": "x.pyth", "weights_sha256": A}) == []


def test_a_file_that_was_changed_is_refused_until_it_is_meant(lab: Lab) -> None:
    space = load(lab.folder / "experiment.yaml")
    pin(space, "one", {"weights": "x.pyth", "weights_sha256": A})
    with pytest.raises(
        ConfigError, match=r"x\.pyth has sha256 bbbbbbbbbbbbbbbb…, but it was aaaaaaaaaaaaaaaa…"
    ):
        refuse_other_weights(space, "one", {"weights": "x.pyth", "weights_sha256": B})
    refuse_other_weights(space, "one", {"weights": "x.pyth", "weights_sha256": A})
    (lab.folder / "weights.lock").write_text("{}")
    assert pin(space, "one", {"weights": "x.pyth", "weights_sha256": B})


def test_features_are_pinned_apart_and_other_files_are_pinned_too(lab: Lab) -> None:
    space = load(lab.folder / "experiment.yaml")
    assert pin(space, "one", {"weights": "x.pyth", "weights_sha256": A})
    assert pin(space, "two", {"weights": "x.pyth", "weights_sha256": B})
    assert pin(space, "one", {"weights": "y.pyth", "weights_sha256": B})
    known = json.loads((lab.folder / "weights.lock").read_text())
    assert known == {"one": {"x.pyth": [A], "y.pyth": [B]}, "two": {"x.pyth": [B]}}


def test_files_of_one_name_in_several_folders_are_told_apart(lab: Lab) -> None:
    space = load(lab.folder / "experiment.yaml")
    several = {"weights": ["best.pyth", "best.pyth"], "weights_sha256": [A, B]}
    assert used_weights(several) == [("best.pyth", A), ("best.pyth", B)]
    pin(space, "one", several)
    assert pin(space, "one", several) == []
    with pytest.raises(ConfigError, match=r"best\.pyth has sha256 cccc"):
        refuse_other_weights(
            space, "one", {"weights": ["best.pyth", "best.pyth"], "weights_sha256": [A, "c" * 64]}
        )


@pytest.mark.parametrize("identity", [{}, {"weights": "random"}, {"weights": "org/name@abc"}])
def test_what_has_no_file_is_not_pinned(lab: Lab, identity: dict[str, str]) -> None:
    assert pin(load(lab.folder / "experiment.yaml"), "one", identity) == []
    assert not (lab.folder / "weights.lock").exists()


@pytest.mark.parametrize("entry", [3, {"x.pyth": []}, {"x.pyth": "a"}, {"x.pyth": [1]}, ["x.pyth"]])
def test_a_damaged_lock_is_a_readable_error(lab: Lab, entry: object) -> None:
    (lab.folder / "weights.lock").write_text(json.dumps({"one": entry}))
    with pytest.raises(ConfigError, match=r"weights\.lock: damaged at 'one'; delete that entry"):
        refuse_other_weights(
            load(lab.folder / "experiment.yaml"), "one", {"weights": "x", "weights_sha256": A}
        )


def test_a_lock_that_was_cut_short_is_neither_ignored_nor_overwritten(lab: Lab) -> None:
    space = load(lab.folder / "experiment.yaml")
    pin(space, "one", {"weights": "x.pyth", "weights_sha256": A})
    path = lab.folder / "weights.lock"
    path.write_text(path.read_text()[:-4])
    before = path.read_text()
    for step in (pin, refuse_other_weights):
        with pytest.raises(ConfigError, match=r"weights\.lock: not readable as JSON; mend it, or delete it"):
            step(space, "one", {"weights": "x.pyth", "weights_sha256": B})
    assert path.read_text() == before


def test_extract_pins_what_it_used_and_holds_to_it(lab: Lab) -> None:
    config = narrow("x3d_xs")
    lively_weights(lab.folder / "own.safetensors", config, 32)
    write_config(lab.folder / "own.yaml", config)
    spec = {
        "extractor": "x3d_xs",
        "weights": "own.safetensors",
        "config": "own.yaml",
        "crop": 32,
        "short_side": 36,
    }
    lab.document["features"] = {"clip": {"modality": "video", **spec}}
    lab.document["heads"] = {}
    lab.save()
    good = (lab.folder / "own.safetensors").read_bytes()
    (lab.folder / "own.safetensors").write_bytes(good[:100])
    assert lab.run("extract", "--max-failed", "100%") == 1
    assert not (lab.folder / "weights.lock").exists()  # what could not be used is not pinned
    (lab.folder / "own.safetensors").write_bytes(good)
    assert lab.run("extract", "--max-failed", "100%") == 2  # the lab has no media
    assert "  pinned own.safetensors, sha256 " in lab.out
    lively_weights(lab.folder / "own.safetensors", config, 32, seed=1)
    assert lab.run("extract", "--max-failed", "100%") == 1
    assert "If the change is meant, delete 'own.safetensors' from weights.lock and run" in lab.err
