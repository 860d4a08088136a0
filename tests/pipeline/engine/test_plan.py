import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from engine_lab import plan_of, takes
from lab import Lab
from stand_ins import Doer, Stand, slow_first

from extractors import Extractor
from manifests import Manifest
from pipeline.engine import plan as plan_module
from pipeline.engine.plan import Plan, Takes, changed_keys, make_plan
from pipeline.experiment import load
from pipeline.options import ConfigError
from pipeline.store import StoreVersionError

FAKE = {"modality": "video", "extractor": "fake"}


@pytest.fixture
def planned(lab: Lab, change: Callable[..., None]) -> Callable[..., Plan]:
    """Return the plan of a fake feature with the options given, eight clips in a shard."""

    def plan(retry_failed: bool = False, **options: Any) -> Plan:
        change("features", {"x": {**FAKE, "shard": 8, **options}})
        change("heads", {})
        workspace = load(lab.folder / "experiment.yaml")
        manifest = workspace.manifest()
        return make_plan(workspace, manifest, Takes(manifest, workspace.root), "x", retry_failed=retry_failed)

    return plan


def test_every_clip_is_in_one_shard_in_the_order_of_the_manifest(planned: Callable[..., Plan]) -> None:
    plan = planned(shard=20)
    assert [t.clips for t in plan.tasks] == [range(20), range(20, 40), range(40, 60), range(60, 72)]
    assert [t.path.name for t in plan.tasks] == [f"shard-0000{i}.h5" for i in range(4)]
    assert plan.todo == [0, 1, 2, 3]
    assert plan.clips_done == 0


def parts(extractor: Extractor, seconds: list[float | None]) -> list[range]:
    durations = [float("nan") if s is None else s for s in seconds]
    return list(plan_module._parts(extractor, takes(len(seconds), duration=durations)))


def test_long_clips_with_many_rows_make_smaller_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Doer(slow_first, clips_per_shard=4, rows_per_second=100.0)  # 400 bytes a second
    monkeypatch.setattr(plan_module, "_SHARD_BYTES", 4000)
    assert parts(extractor, [1.0] * 6) == [range(4), range(4, 6)]
    assert parts(extractor, [5.0, 5.0, 5.0, 1.0, 1.0, 1.0]) == [range(2), range(2, 6)]
    assert parts(extractor, [50.0, 1.0, 50.0]) == [range(1), range(1, 2), range(2, 3)]
    assert parts(extractor, [None] * 6) == [range(4), range(4, 6)]
    extractor.rows_per_second = 0.0
    assert parts(extractor, [50.0] * 4) == [range(4)]


def test_no_shard_of_long_clips_is_larger_than_the_bound() -> None:
    extractor = Stand()
    extractor.rows_per_second = 100.0
    seconds: list[float | None] = [3600.0] * 400
    for part in parts(extractor, seconds):
        assert len(part) * 3600 * 100 * 4 * extractor.dim <= 256 << 20


def run(lab: Lab, *args: str, code: int = 0) -> None:
    assert lab.run("extract", *args) == code, lab.err


def records(lab: Lab) -> list[Path]:
    return sorted(lab.folder.glob("features/fake/*/shard-*.json"))


def rewrite(path: Path, **changes: Any) -> None:
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_shard_is_finished_if_record_bytes_and_identity_match(
    lab: Lab, planned: Callable[..., Plan]
) -> None:
    planned()
    run(lab)
    assert planned().todo == []
    assert planned().clips_done == 72
    paths = records(lab)
    paths[0].unlink()
    paths[1].chmod(0o644)
    paths[1].write_text("{")
    rewrite(paths[2], planned_sha256="0")
    rewrite(paths[3], identity_sha256="0")
    rewrite(paths[4], sha256="0" * 64)
    paths[5].with_suffix(".h5").unlink()
    body = bytearray(paths[6].with_suffix(".h5").read_bytes())
    body[-1] ^= 1
    paths[6].with_suffix(".h5").chmod(0o644)
    paths[6].with_suffix(".h5").write_bytes(body)
    plan = planned()
    assert plan.todo == [0, 1, 2, 3, 4, 5, 6]
    assert plan.clips_done == 16


def test_shards_in_which_a_clip_failed_are_made_again_when_asked(
    lab: Lab, planned: Callable[..., Plan]
) -> None:
    planned(fault="error", on=["s0-angry-0", "s5-sad-3"])
    run(lab, code=2)
    assert planned().todo == []
    assert planned(retry_failed=True).todo == [0, 8]


def test_a_newer_record_is_refused(lab: Lab, planned: Callable[..., Plan]) -> None:
    planned()
    run(lab)
    rewrite(records(lab)[1], **{"encoding-version": 99})
    with pytest.raises(StoreVersionError, match="99"):
        planned()
    assert lab.run("extract") == 1
    assert "99" in lab.err
    assert lab.err.count("\n") == 1


BASE: dict[str, Any] = {
    "view": "left", "video": "a/v.mp4", "audio": "a/s.wav", "text": "a/t.txt", "start": 1.0, "end": 2.0,
    "sha256": "0" * 64, "duration": 9.0, "emotion": "sad",
}  # fmt: skip


def print_of(clip_id: str = "c", **changes: Any) -> str:
    frame = pd.DataFrame([{"clip_id": clip_id, "subject": "s", **BASE, **changes}])
    return Takes(Manifest(frame), Path("/corpus")).fingerprint(range(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_id": "d"}, {"view": ""}, {"video": "a/w.mp4"}, {"audio": ""}, {"text": "a/u.txt"},
        {"start": 0.5}, {"start": float("nan")}, {"end": 3.0}, {"end": float("nan")}, {"sha256": ""},
        {"video": "a/s.wav", "audio": "a/v.mp4"},
    ],
    ids=str,
)  # fmt: skip
def test_a_clip_is_another_if_what_an_extractor_sees_differs(changes: dict[str, Any]) -> None:
    assert print_of(**changes) != print_of()


@pytest.mark.parametrize(
    "changes", [{"emotion": "happy"}, {"subject": "t"}, {"duration": 8.0}, {"video": "b/v.mp4"}], ids=str
)
def test_labels_and_where_the_corpus_lies_make_no_other_clip(changes: dict[str, Any]) -> None:
    assert print_of(**changes) == print_of()


def test_a_fingerprint_is_of_its_clips_in_their_order() -> None:
    some = takes(6)
    assert len({some.fingerprint(range(i, i + 2)) for i in range(5)}) == 5
    assert some.fingerprint(range(2)) == takes(9).fingerprint(range(2))


def test_a_later_clip_of_another_kind_changes_no_fingerprint_but_its_own() -> None:
    more: dict[str, list[Any]] = {
        "view": ["", "", "left"],
        "audio": ["", "", "c.wav"],
        "start": [float("nan"), float("nan"), 1.5],
        "sha256": ["", "", "f" * 64],
    }
    assert takes(3).fingerprint(range(2)) == takes(3, **more).fingerprint(range(2))
    for name in more:
        column = {name: more[name]}
        assert takes(3).fingerprint(range(3)) != takes(3, **column).fingerprint(range(3))


def test_takes_have_absolute_files_and_the_times_that_are_said() -> None:
    some = takes(
        2,
        video=["a.mp4", "b.mp4"],
        audio=["a.wav", ""],
        start=[1.0, float("nan")],
        end=[3.5, float("nan")],
        duration=[9.0, 4.0],
        sha256=["f" * 64, ""],
    )
    one, two = some[0], some[1]
    assert (one.clip.video, one.clip.audio) == (Path("/corpus/a.mp4"), Path("/corpus/a.wav"))
    assert one.files == (Path("/corpus/a.mp4"), Path("/corpus/a.wav"))
    assert (one.clip.start, one.clip.end, one.sha256, one.key) == (1.0, 3.5, "f" * 64, ("c0", ""))
    assert (two.clip.audio, two.clip.start, two.clip.end, two.sha256) == (None, None, None, "")
    assert two.files == (Path("/corpus/b.mp4"),)
    assert (some.seconds(0), some.seconds(1)) == (2.5, 4.0)


def test_the_length_of_a_clip_is_what_is_known_of_it() -> None:
    nan = float("nan")
    some = takes(3, start=[2.0, nan, 5.0], end=[nan, 3.0, nan], duration=[10.0, nan, nan])
    assert [some.seconds(i) for i in range(3)] == [8.0, 3.0, None]


def test_changed_keys_say_which_and_how() -> None:
    before = {"a": 1, "b": "x", "c": None, "long": "y" * 40}
    assert changed_keys(before, {"a": 2, "b": "x", "d": [1], "long": "z" * 40}) == (
        "a: 1 -> 2, d: None -> [1], long: 'yyyyyyyyyyyyyyyyyyy… -> 'zzzzzzzzzzzzzzzzzzz…"
    )
    assert changed_keys(before, dict(before)) == ""


@pytest.mark.parametrize(
    ("asked", "card", "hardware", "got"),
    [
        ("auto", True, True, "bf16"),
        ("auto", True, False, "fp32"),
        ("auto", False, True, "fp32"),
        ("fp32", True, True, "fp32"),
        ("bf16", True, False, "bf16"),
    ],
)
def test_precision_is_what_card_and_hardware_allow(
    monkeypatch: pytest.MonkeyPatch, asked: str, card: bool, hardware: bool, got: str
) -> None:
    monkeypatch.setattr(plan_module, "has_bf16", lambda: hardware)
    monkeypatch.setattr(Stand, "card_allows", card)
    assert plan_module._resolved(Stand(), asked, "x") == got


def test_a_precision_that_the_card_does_not_allow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stand, "card_allows", False)
    with pytest.raises(ConfigError, match="--precision bf16: the card of feature 'x'") as refusal:
        plan_module._resolved(Stand(), "bf16", "x")
    assert "use --precision auto" in str(refusal.value)


def test_a_stranger_in_trained_on_is_refused(planned: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match=r"features\.x: trained_on names 'nobody'"):
        planned(trained_on=["s0", "nobody"])
    assert planned(trained_on=["s1", "s0"]).identity["trained_on"] == ["s0", "s1"]
    assert planned(trained_on=["s0"]).folder != planned().folder


def test_windows_are_counted_for_networks_alone(tmp_path: Path) -> None:
    assert plan_of(Stand(), tmp_path, range(3), range(3, 7)).windows() == 7
    assert plan_of(Doer(slow_first), tmp_path, range(3)).windows() == 0


def test_no_garbage_is_looked_for_while_records_are_read(
    planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(plan_module, "read_record", lambda path: seen.append(gc.isenabled()))
    planned()
    assert set(seen) == {False}
    assert gc.isenabled()

    def fail(path: Path) -> None:
        raise StoreVersionError("newer")

    monkeypatch.setattr(plan_module, "read_record", fail)
    with pytest.raises(StoreVersionError):
        planned()
    assert gc.isenabled()
