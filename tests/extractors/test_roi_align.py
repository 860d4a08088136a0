"""The stand-in for the one name that PySlowFast wants from detectron2."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torchvision.ops import RoIAlign

from extractors.roi_align import provide_roi_align


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget any detectron2; what the test brings in is forgotten after it."""
    for name in ("detectron2", "detectron2.layers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so that the old state comes back
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("aligned", [True, False])
def test_the_stand_in_computes_what_torchvision_does(aligned: bool) -> None:
    provide_roi_align()
    layers = importlib.import_module("detectron2.layers")
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 3, 16, 16, generator=generator)
    boxes = torch.tensor([[0, 1.0, 2.0, 9.0, 14.0], [1, 0.0, 0.0, 5.5, 3.25]])
    ours = layers.ROIAlign((7, 7), spatial_scale=0.5, sampling_ratio=0, aligned=aligned)(maps, boxes)
    torch.testing.assert_close(ours, RoIAlign((7, 7), 0.5, 0, aligned=aligned)(maps, boxes), rtol=0, atol=0)


@pytest.mark.usefixtures("absent")
def test_the_stand_in_is_aligned_unless_told_otherwise() -> None:
    provide_roi_align()
    layers = importlib.import_module("detectron2.layers")
    assert layers.ROIAlign(7, 1.0, 0).aligned is True


@pytest.mark.usefixtures("absent")
def test_the_stand_in_says_that_it_is_one() -> None:
    provide_roi_align()
    assert "Stand-in made by affectstack" in (sys.modules["detectron2"].__doc__ or "")


@pytest.mark.usefixtures("absent")
def test_a_loaded_detectron2_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ModuleType("detectron2")
    monkeypatch.setitem(sys.modules, "detectron2", real)
    provide_roi_align()
    assert sys.modules["detectron2"] is real
    assert "detectron2.layers" not in sys.modules


@pytest.mark.usefixtures("absent")
def test_an_installed_detectron2_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").touch()
    (tmp_path / "detectron2/layers.py").write_text("ROIAlign = 'the real one'\n")
    monkeypatch.syspath_prepend(tmp_path)
    provide_roi_align()
    assert importlib.import_module("detectron2.layers").ROIAlign == "the real one"


@pytest.mark.usefixtures("absent")
def test_providing_twice_changes_nothing() -> None:
    provide_roi_align()
    first = sys.modules["detectron2"]
    provide_roi_align()
    assert sys.modules["detectron2"] is first


@pytest.mark.usefixtures("absent")
def test_others_may_ask_whether_detectron2_is_there() -> None:
    provide_roi_align()
    importlib.util.find_spec("detectron2")
