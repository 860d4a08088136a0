from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_lab import Quiet, children, fingerprint, plan_of, takes
from stand_ins import Doer, Pictured, Stand, bytes_stored, len_of_id, slow_first

from affectstack import AffectstackError
from extractors import Clip, Features
from extractors.fake import Fake
from pipeline.engine import local
from pipeline.engine.local import LocalEngine, Settings, memory_per_worker
from pipeline.engine.messages import Job, Limits
from pipeline.engine.plan import Plan
from pipeline.store import FeatureStore


def make(plans: Sequence[Plan], workers: int = 1, probe: bool = True, **todo: list[int]) -> Quiet:
    """Make shards, all by default; return the listener."""
    quiet = Quiet()
    wanted = {p.feature: todo.get(p.feature, p.todo) for p in plans}
    with LocalEngine(plans, Settings(workers, Limits(60, 0), probe), quiet) as engine:
        for made in engine.make(wanted):
            made.plan.finished[made.shard] = made.record
    assert not children()
    return quiet


def stored(plan: Plan) -> dict[str, Features]:
    names = [plan.tasks[i].path.name for i in sorted(plan.finished)]
    store = FeatureStore(plan.folder, names, fingerprint(plan))
    return {key[0]: features for block in store.blocks() for key, features in block.items()}


def shards(plan: Plan) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in plan.folder.glob("shard-*")}


def test_two_features_with_other_shards_are_made_in_one_pass(tmp_path: Path) -> None:
    a = plan_of(Fake(worker=True), tmp_path, range(4), range(4, 6), feature="a")
    b = plan_of(Stand(), tmp_path, range(3), range(3, 6), feature="b")
    quiet = make([a, b], workers=2)
    assert [c for c, _, _ in quiet.clips] == [f"c{i}" for i in range(6)]
    for plan in (a, b):
        assert sorted(plan.finished) == [0, 1]
        assert list(stored(plan)) == [f"c{i}" for i in range(6)]


def test_only_clips_that_a_feature_still_wants_are_worked_on(tmp_path: Path) -> None:
    a = plan_of(Fake(worker=True), tmp_path, range(3), range(3, 6), feature="a")
    b = plan_of(Fake(worker=True), tmp_path, range(2), range(2, 4), range(4, 6), feature="b")
    quiet = make([a, b], a=[1], b=[2])
    assert [c for c, _, _ in quiet.clips] == ["c3", "c4", "c5"]
    assert (list(stored(a)), list(stored(b))) == (["c3", "c4", "c5"], ["c4", "c5"])


def test_bytes_do_not_depend_on_workers_nor_on_what_else_is_made(tmp_path: Path) -> None:
    def plan(where: str, feature: str = "x") -> Plan:
        return plan_of(
            Stand(windows=5, look_ahead=4), tmp_path / where, range(4), range(4, 9), feature=feature
        )

    one, many, beside = plan("one"), plan("many"), plan("beside")
    make([one])
    make([many], workers=4)
    make([plan_of(Doer(slow_first), tmp_path, range(9), feature="y"), beside], workers=2)
    make([resumed := plan("resumed")], x=[1])
    make([resumed], x=[0])
    assert len(shards(one)) == 4
    assert shards(one) == shards(many) == shards(beside) == shards(resumed)
    extractors: list[Any] = [p.extractor for p in (one, many, beside)]
    # The probe embeds the first batch twice.
    assert len({str(e.embedded) for e in extractors}) == 1
    assert [len(b) for b in extractors[0].embedded] == [4, 4, 4, 4, 4, 4] + [4] * 6 + [1]


def test_an_extractor_that_reads_no_media_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pipeline.engine.local.DecoderPool", refuse)
    plan = plan_of(Fake(fault="bug", on=["c1"]), tmp_path, range(3))
    quiet = make([plan])
    assert list(stored(plan)) == ["c0", "c2"]
    assert [[f.type for f in failed] for _, _, failed in quiet.clips] == [[], ["KeyError"], []]


class Reader(Doer):
    """Gives the number of bytes of what another feature holds of a clip; reads no media."""

    reads_media = False


def test_what_another_feature_holds_is_handed_over_and_goes_no_further(tmp_path: Path) -> None:
    first = plan_of(Pictured(), tmp_path, range(3), feature="pictures")
    make([first])
    second = plan_of(Reader(bytes_stored), tmp_path, range(4), feature="bytes")
    second.source = FeatureStore(first.folder, [t.path.name for t in first.tasks], fingerprint(first))
    told: list[Job] = []

    class Listener(Quiet):
        def clip(self, job: Job, seconds: float | None, failures: Sequence[Any]) -> None:
            told.append(job)
            super().clip(job, seconds, failures)

    with LocalEngine([second], Settings(1, Limits(60, 0)), Listener()) as engine:
        for made in engine.make({"bytes": [0]}):
            second.finished[made.shard] = made.record
    assert {k: f.values.item() for k, f in stored(second).items()} == {"c0": 2, "c1": 2, "c2": 2, "c3": -1}
    assert [job.take.clip.stored for job in told] == [None] * 4  # a driver far away needs no pictures


def test_the_first_clip_of_every_feature_is_probed(tmp_path: Path) -> None:
    noise = {"fault": "noise", "worker": True}
    a = plan_of(Fake(on=["c0", "c1"], **noise), tmp_path, range(3), feature="a")  # type: ignore[arg-type]
    b = plan_of(Fake(on=["c1", "c2"], **noise), tmp_path, range(1), range(1, 3), feature="b")  # type: ignore[arg-type]
    quiet = make([a, b], a=[0], b=[1])
    assert [(c, f.feature) for c, _, failed in quiet.clips for f in failed] == [("c0", "a"), ("c1", "b")]
    assert all("two runs over the same clip" in f.message for _, _, failed in quiet.clips for f in failed)
    c = plan_of(Fake(on=["c0"], **noise), tmp_path, range(1), feature="c")  # type: ignore[arg-type]
    assert [f for _, _, f in make([c], probe=False).clips] == [[]]


class Told(Stand):
    """Says that it was made faster."""

    def speed_up(self, windows: int) -> str:
        return f"made fast for {windows} windows"


def test_networks_are_prepared_once_and_may_say_a_line(tmp_path: Path) -> None:
    plan = plan_of(Told(), tmp_path, range(3))
    quiet = make([plan])
    assert quiet.notes == ["x: made fast for 3 windows"]
    assert plan.extractor.prepared == 1  # type: ignore[attr-defined]


def test_a_run_probes_its_first_clip_and_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[Sequence[str]] = []
    monkeypatch.setattr(
        local,
        "Job",
        lambda *parts: probed.append(parts[3]) or Job(*parts),  # type: ignore[func-returns-value]
    )
    plan = plan_of(Fake(), tmp_path, range(2), range(2, 4), range(4, 6))
    with LocalEngine([plan], Settings(1, Limits(60, 0)), Quiet()) as engine:
        for shards in ([0, 1], [2]):
            list(engine.make({"x": shards}))
    assert [list(p) for p in probed] == [["x"], [], [], [], [], []]


class Absent(Doer):
    """Lacks something that every clip needs."""

    def prepare(self) -> None:
        raise AffectstackError("no program here")


@pytest.mark.parametrize("worker", [False, True])
def test_what_every_clip_lacks_ends_the_run_and_every_process(tmp_path: Path, worker: bool) -> None:
    plan = plan_of(Absent(len_of_id, reads_media=worker), tmp_path, range(3))
    with pytest.raises(AffectstackError, match="no program here"):
        make([plan])
    assert not children()
    assert not plan.folder.exists()


def test_the_listener_is_told_how_long_clips_are(tmp_path: Path) -> None:
    plan = plan_of(Fake(), tmp_path, range(2))
    plan.takes = takes(2, duration=[1.5, float("nan")])
    assert [(c, s) for c, s, _ in make([plan]).clips] == [("c0", 1.5), ("c1", None)]


def test_nothing_to_do_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pipeline.engine.local.DecoderPool", refuse)
    plan = plan_of(Fake(worker=True), tmp_path, range(2))
    assert make([plan], x=[]).clips == []


def test_memory_is_shared_out() -> None:
    assert memory_per_worker(1) <= 8 << 30
    assert memory_per_worker(1000) * 1000 <= memory_per_worker(1) * 1000
    assert 0 < memory_per_worker(1000) < memory_per_worker(1)


@pytest.mark.slow
def test_several_features_of_real_media_are_what_each_gives_alone(tmp_path: Path) -> None:
    import clip_makers
    import pandas as pd

    from extractors.clip_networks import SlowFast8x8R50
    from extractors.logmel import LogMel
    from extractors.opensmile import OpenSmile
    from manifests import Manifest
    from pipeline.engine.plan import Takes

    for i in range(2):
        sound = [(0.0, clip_makers.tone(1.4, 16000, hz=200.0 + 50 * i))]
        clip_makers.write_clip(tmp_path / f"{i}.mp4", 35, sound=sound)
    rows = [{"clip_id": f"c{i}", "subject": "s", "video": f"{i}.mp4"} for i in range(2)]
    manifest = Manifest(pd.DataFrame(rows))
    small: dict[str, Any] = {"weights": "random", "short_side": 64, "crop": 64}
    extractors = {
        "eg": OpenSmile(),
        "mel16": LogMel(),
        "mel8": LogMel(rate=8000),
        "clip": SlowFast8x8R50(**small),
        "dense": SlowFast8x8R50(**small, sampling_rate=1, stride=4, fps=25.0),
    }

    def plans(where: str, names: Sequence[str]) -> Iterator[Plan]:
        for name in names:
            plan = plan_of(extractors[name], tmp_path / where, range(1), range(1, 2), feature=name)
            plan.takes = Takes(manifest, tmp_path)
            yield plan

    together = list(plans("together", list(extractors)))
    make(together, workers=2, probe=False)
    for plan in together:
        (alone,) = plans("alone", [plan.feature])
        make([alone], probe=False)
        assert shards(alone) == shards(plan)
        for features in stored(plan).values():
            assert np.isfinite(features.values).all()
    assert isinstance(together[0].takes[0].clip, Clip)
