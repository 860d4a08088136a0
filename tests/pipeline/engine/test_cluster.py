import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Lab

from extractors import Clip
from manifests import Manifest
from pipeline.engine.cluster import Unit, units
from pipeline.engine.local import LocalEngine, Settings
from pipeline.engine.messages import Job
from pipeline.engine.plan import Plan, Takes, make_plan
from pipeline.experiment import load
from pipeline.workspace import Workspace

ray = pytest.importorskip("ray")

FAKE = {"modality": "video", "extractor": "fake", "worker": True}


def plans(lab: Lab) -> tuple[Workspace, list[Plan]]:
    workspace = load(lab.folder / "experiment.yaml")
    manifest: Manifest = workspace.manifest()
    takes = Takes(manifest, workspace.root)
    return workspace, [make_plan(workspace, manifest, takes, f) for f in workspace.experiment.features]


def test_shards_of_the_same_clips_are_one_unit(lab: Lab, change: Callable[..., None]) -> None:
    features = {"a": {**FAKE, "shard": 24}, "b": {**FAKE, "shard": 24}, "c": {**FAKE, "shard": 36}}
    change("features", features)
    change("heads", {})
    _, made = plans(lab)
    todo = {"a": [0, 2], "b": [0, 1, 2], "c": [1]}
    assert units(made, todo) == [
        Unit({"a": 0, "b": 0}),
        Unit({"b": 1}),
        Unit({"c": 1}),
        Unit({"a": 2, "b": 2}),
    ]


def test_no_cluster_is_one_readable_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert lab.run("extract", "--engine", "ray", "--address", "127.0.0.1:1") == 1
    assert "no cluster at '127.0.0.1:1'" in lab.err
    assert "ray start --head" in lab.err
    assert lab.err.count("\n") == 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A real cluster of two nodes with one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def local_shards(lab: Lab) -> dict[str, bytes]:
    """Extract here, keep the bytes, and forget that it was done."""
    assert lab.run("extract", "all", "--workers", "2") in (0, 2), lab.err
    paths = sorted(lab.folder.glob("features/*/*/shard-*"))
    found = {str(p.relative_to(lab.folder)): p.read_bytes() for p in paths}
    for path in paths:
        path.unlink()
    return found


def ray_shards(lab: Lab) -> dict[str, bytes]:
    return {str(p.relative_to(lab.folder)): p.read_bytes() for p in lab.folder.glob("features/*/*/shard-*")}


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_and_the_same_failures(
    lab: Lab, change: Callable[..., None], cluster: Any
) -> None:
    bad = {"fault": "error", "on": ["s0-angry-0", "s3-sad-2"]}
    change("features", {"a": {**FAKE, "shard": 8, **bad}, "b": {**FAKE, "seed": 1, "shard": 12}})
    change("heads", {})
    here = local_shards(lab)
    assert len(here) == 2 * (72 // 8 + 72 // 12)
    assert lab.run("extract", "all", "--engine", "ray", "--address", cluster.address) == 2, lab.err
    assert ray_shards(lab) == here
    assert "a: 70 clips, 2 failed" in lab.out
    assert "failed: s0-angry-0: DecodeError" in lab.out


@pytest.mark.slow
def test_what_a_killed_node_was_on_is_made_elsewhere(
    lab: Lab, change: Callable[..., None], cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    change("features", {"a": {**FAKE, "shard": 6, "seconds": 0.15}})
    change("heads", {})
    here = local_shards(lab)
    killed: list[float] = []
    second = next(n for n in cluster.worker_nodes)

    def kill_once(self: object, job: Job, *_: object) -> None:
        if not killed:
            killed.append(time.monotonic())
            cluster.remove_node(second, allow_graceful=False)

    monkeypatch.setattr("pipeline.engine.reporter.Reporter.clip", kill_once)
    assert lab.run("extract", "all", "--engine", "ray", "--address", cluster.address) == 0, lab.err
    assert killed
    assert ray_shards(lab) == here


@pytest.mark.slow
def test_what_concerns_every_clip_ends_the_run_with_its_own_message(
    lab: Lab, change: Callable[..., None], cluster: Any
) -> None:
    change("features", {"a": {"modality": "au", "extractor": "openface", "binary": "no-such-program"}})
    change("heads", {})
    assert lab.run("extract", "all", "--engine", "ray", "--address", cluster.address) == 1
    assert "no program 'no-such-program' on PATH" in lab.err


class Quiet:
    """A listener that keeps nothing."""

    def clip(self, job: Job, seconds: float | None, failures: Any) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


def test_plans_travel_to_other_processes(lab: Lab, tmp_path: Path) -> None:
    from ray import cloudpickle

    _, made = plans(lab)
    there = cloudpickle.loads(cloudpickle.dumps(made))
    todo = {p.feature: p.todo for p in there}
    with LocalEngine(there, Settings(workers=1), Quiet()) as engine:
        assert len(list(engine.make(todo))) == sum(map(len, todo.values()))
    assert all(p.finished.keys() == set() for p in made)
    assert isinstance(made[0].takes[0].clip, Clip)
