import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab

from pipeline.engine.finish import publish_index, write_failures
from pipeline.engine.plan import Plan, Takes, make_plan
from pipeline.experiment import load
from pipeline.features import read_index
from pipeline.store import Failure
from pipeline.workspace import Workspace


def plan(lab: Lab) -> tuple[Workspace, Plan]:
    workspace = load(lab.folder / "experiment.yaml")
    manifest = workspace.manifest()
    return workspace, make_plan(workspace, manifest, Takes(manifest, workspace.root), "x")


@pytest.fixture
def extracted(lab: Lab, change: Callable[..., None]) -> tuple[Workspace, Plan]:
    """A feature that was extracted, and whose index is gone."""
    bad = {"fault": "error", "on": ["s0-angry-0", "s5-sad-3"]}
    fake = {"modality": "video", "extractor": "fake", "shard": 30, "trained_on": ["s2", "s1"], **bad}
    change("features", {"x": fake})
    change("heads", {})
    assert lab.run("extract") == 2
    for path in lab.folder.rglob("*.json"):
        if not path.name.startswith("shard-"):
            path.unlink()
    return plan(lab)


def test_the_index_says_what_the_shards_hold(extracted: tuple[Workspace, Plan]) -> None:
    workspace, found = extracted
    index = publish_index(found, workspace)
    assert index == read_index(workspace, "x")
    assert index.shards == ["shard-00000.h5", "shard-00001.h5", "shard-00002.h5"]
    assert (index.clips, index.failed, index.untrained) == (70, 2, True)
    assert index.seen_subjects == ["s1", "s2"]
    assert index.folder == f"features/fake/{index.identity_sha256[:12]}"
    assert index.identity == found.identity
    assert (found.folder / "verified.json").exists()
    with (found.folder / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["clip_id"], r["type"], r["stage"]) for r in rows] == [
        ("s0-angry-0", "DecodeError", "extract"),
        ("s5-sad-3", "DecodeError", "extract"),
    ]


def test_no_index_is_written_while_a_shard_is_not_there(extracted: tuple[Workspace, Plan]) -> None:
    workspace, found = extracted
    del found.finished[1]
    with pytest.raises(KeyError):
        publish_index(found, workspace)
    assert not (workspace.folder / "features/x.json").exists()


def test_failures_are_a_table_whatever_they_say(tmp_path: Path) -> None:
    path = tmp_path / "failures.csv"
    write_failures(path, [])
    assert path.read_text() == "clip_id,view,stage,type,message\n"
    write_failures(path, [Failure("c", "left", "DecodeError", 'a, "b"\nc')])
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "clip_id": "c", "view": "left", "stage": "extract", "type": "DecodeError", "message": 'a, "b"\nc',
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["failures.csv"]


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "failures.csv"
    write_failures(path, [Failure("-c", "=view()", "DecodeError", "=cmd().wav: no such file")])
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["clip_id"], row["view"], row["message"]) == (
        "'-c", "'=view()", "'=cmd().wav: no such file",
    )  # fmt: skip
