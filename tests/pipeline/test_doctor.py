from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab

from extractors.weights import Card, cards
from pipeline import doctor


def test_a_whole_experiment_lacks_nothing(lab: Lab) -> None:
    assert lab.run("doctor") == 0, lab.err
    assert "feature one: is there" in lab.out
    assert lab.out.rstrip().endswith("nothing is missing")


def test_missing_weights_are_named_with_their_place(lab: Lab, change: Callable[..., None]) -> None:
    change("features.clip", {"modality": "video", "extractor": "x3d_m"})
    change("features.tried", {"modality": "video", "extractor": "x3d_m", "weights": "random"})
    assert lab.run("doctor") == 2
    assert "feature clip: MISSING" in lab.out
    assert "feature tried: UNTRAINED, random weights" in lab.out
    assert "missing: feature 'clip': weights of x3d_m: none given. Get X3D-M, Kinetics-400" in lab.out
    assert "missing in all: 1" in lab.out


def test_weights_that_are_there_are_said_with_their_fingerprint(
    lab: Lab, change: Callable[..., None]
) -> None:
    (lab.folder / "weights").mkdir()
    (lab.folder / "weights/x3d_m.pyth").write_bytes(b"not looked into here")
    change("features.clip", {"modality": "video", "extractor": "x3d_m", "weights": "weights/x3d_m.pyth"})
    assert lab.run("doctor") == 0
    assert "feature clip: is there (x3d_m.pyth, sha256 " in lab.out
    assert "x3d_m: X3D-M, Kinetics-400, Apache-2.0, there" in lab.out
    assert "x3d_s: X3D-S, Kinetics-400, Apache-2.0, not at weights/x3d_s.pyth" in lab.out


def test_without_an_experiment_it_lists_the_cards(lab: Lab, tmp_path: Path) -> None:
    (lab.folder / "experiment.yaml").unlink()
    assert lab.run("doctor") == 0
    assert all(f"  {name}: " in lab.out for name in cards())


def test_weights_that_come_with_a_package_are_there_if_it_is(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = Card("net", "Net", "https://example.org", "", "MIT", package="numpy")
    absent = Card("gone", "Gone", "https://example.org", "", "MIT", package="no-such-package")
    monkeypatch.setattr(doctor, "cards", lambda: {"net": brought, "gone": absent})
    lab.run("doctor")
    assert "  net: Net, MIT, comes with numpy: installed" in lab.out
    assert "  gone: Gone, MIT, comes with no-such-package: not installed" in lab.out


def test_licences_filter(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = Card("net", "Net", "https://example.org", "weights/net", "research only")
    monkeypatch.setattr(doctor, "cards", lambda: {**cards(), "net": strict})
    assert lab.run("doctor") == 0
    assert "  net: Net, research only" in lab.out
    assert lab.run("doctor", "--licence", "permissive") == 0
    assert "  net: " not in lab.out
    assert "  x3d_m: " in lab.out
