import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import SUBJECTS, Lab

from pipeline import engine


def failures(lab: Lab) -> list[dict[str, str]]:
    (path,) = lab.folder.glob("features/*/*/failures.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def fake(lab: Lab, change: Callable[..., None]) -> Callable[..., None]:
    """Make the experiment's only feature a fake one with the options given."""

    def apply(**options: object) -> None:
        change("features", {"x": {"modality": "video", "extractor": "fake", **options}})
        change("heads", {"x-log": {"features": "x", "head": "logistic"}})

    return apply


def test_extract_writes_shards_records_and_an_index(lab: Lab) -> None:
    assert lab.run("extract") == 0, lab.err
    index = json.loads((lab.folder / "features/one.json").read_text())
    assert index["clips"] == 72
    assert index["failed"] == 0
    folder = lab.folder / index["folder"]
    assert {p.name for p in folder.iterdir()} == {
        "failures.csv",
        *(f"shard-0000{i}.{kind}" for i in range(3) for kind in ("h5", "json")),
    }
    assert lab.out.rstrip().endswith("next: python -m pipeline.train_heads")


def test_one_modality_runs_alone_and_the_next_command_is_the_other(lab: Lab) -> None:
    assert lab.run("extract", "au") == 0
    assert not (lab.folder / "features/two.json").exists()
    assert lab.out.rstrip().endswith("next: python -m pipeline.extract audio")


def test_a_modality_that_is_not_there_names_those_that_are(lab: Lab) -> None:
    assert lab.run("extract", "video") == 1
    assert "has no video features; it has one (au), two (audio)" in lab.err


def test_finished_shards_are_not_touched(lab: Lab) -> None:
    lab.run("extract", "au")
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in lab.folder.glob("features/*/*/shard-*")}
    assert lab.run("extract", "au") == 0
    assert "72 of 72 clips are there already" in lab.out
    assert before == {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in lab.folder.glob("features/*/*/shard-*")
    }


@pytest.mark.parametrize("damage", ["delete shard", "delete record", "flip"])
def test_only_a_damaged_shard_is_made_again_with_the_same_bytes(lab: Lab, damage: str) -> None:
    lab.run("extract", "au")
    shards = sorted(lab.folder.glob("features/*/*/shard-*.h5"))
    before = [p.read_bytes() for p in shards]
    victim = shards[1]
    if damage == "delete record":
        victim.with_suffix(".json").unlink()
    elif damage == "delete shard":
        victim.unlink()
    else:
        victim.chmod(0o644)
        victim.write_bytes(b"\0" + before[1][1:])
    assert lab.run("extract", "au") == 0
    assert "40 of 72 clips are there already" in lab.out
    assert [p.read_bytes() for p in shards] == before


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fake pretend to read media, so that it is worth processes."""
    monkeypatch.setattr("extractors.fake.Fake.reads_media", True)


@pytest.mark.usefixtures("in_processes")
def test_several_processes_give_the_same_bytes_as_one(lab: Lab, fake: Callable[..., None]) -> None:
    fake()
    lab.run("extract")
    one = {p.name: p.read_bytes() for p in lab.folder.glob("features/*/*/shard-*")}
    for path in lab.folder.glob("features/*/*/shard-*"):
        path.unlink()
    assert lab.run("extract", "--workers", "2") == 0, lab.err
    assert one == {p.name: p.read_bytes() for p in lab.folder.glob("features/*/*/shard-*")}


@pytest.mark.parametrize("fault", ["error", "nan", "shape"])
def test_a_clip_that_fails_costs_that_clip(lab: Lab, fake: Callable[..., None], fault: str) -> None:
    fake(fault=fault, on=["s0-angry-0", "s3-sad-2"])
    assert lab.run("extract") == 2
    assert [f["clip_id"] for f in failures(lab)] == ["s0-angry-0", "s3-sad-2"]
    kind = "DecodeError" if fault == "error" else "BadFeaturesError"
    assert {f["type"] for f in failures(lab)} == {kind}
    assert f"failed: s0-angry-0: {kind}:" in lab.out
    assert json.loads((lab.folder / "features/x.json").read_text())["clips"] == 70


def test_failed_clips_stay_failed_until_they_are_tried_again(lab: Lab, fake: Callable[..., None]) -> None:
    fake(fault="error", on=["s0-angry-0"])
    assert lab.run("extract") == 2
    fake()  # the fault is mended; faults are no part of the fake's identity
    assert lab.run("extract") == 2
    assert lab.run("extract", "--retry-failed") == 0
    assert failures(lab) == []


@pytest.mark.parametrize(("budget", "code"), [("1", 3), ("2", 2), ("3%", 2), ("1%", 3), ("0", 3)])
def test_more_failures_than_the_budget_end_the_run(
    lab: Lab, fake: Callable[..., None], budget: str, code: int
) -> None:
    fake(fault="error", on=["s0-angry-0", "s5-sad-3"])
    assert lab.run("extract", "--max-failed", budget) == code
    assert failures(lab)  # those met until it stopped
    if code == 3:
        assert f"more than {budget} of 72 clips failed" in lab.err
        assert not (lab.folder / "features/x.json").exists()


@pytest.mark.parametrize("budget", ["many", "-1", "101%", "%"])
def test_a_budget_that_is_no_number_is_refused(lab: Lab, budget: str) -> None:
    assert lab.run("extract", "--max-failed", budget) == 1
    assert "expected a number of clips, or a share like 10%" in lab.err


def test_other_options_are_another_identity_and_never_mix(lab: Lab, fake: Callable[..., None]) -> None:
    fake(seed=0)
    lab.run("extract")
    fake(seed=1)
    assert lab.run("extract") == 0
    assert "already" not in lab.out
    assert len(list(lab.folder.glob("features/fake/*"))) == 2


def test_a_new_clip_redoes_only_the_shards_it_changes(lab: Lab) -> None:
    lab.run("extract", "au")
    with (lab.folder / "manifest.csv").open("a") as file:
        file.write("s5-new,s5,sad\n")
    assert lab.run("extract", "au") == 2  # the table has no row for it
    assert "64 of 73 clips are there already" in lab.out


def test_a_missing_weight_is_one_readable_line(lab: Lab, change: Callable[..., None]) -> None:
    change("features.clip", {"modality": "video", "extractor": "slowfast_8x8_r50"})
    assert lab.run("extract", "video") == 1
    assert lab.err.count("\n") == 1
    for part in (
        "weights of slowfast_8x8_r50",
        "Get SlowFast 8x8 R50",
        "put it at weights/",
        "weights: random",
    ):
        assert part in lab.err


def test_random_weights_are_said_loudly(lab: Lab, fake: Callable[..., None]) -> None:
    fake()
    lab.run("extract")
    assert "[UNTRAINED: random weights]" in lab.out
    assert json.loads((lab.folder / "features/x.json").read_text())["untrained"] is True


def test_a_bug_keeps_its_traceback_and_names_the_clip(
    lab: Lab, fake: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from extractors.fake import Fake

    def broken(self: Fake, clip: object) -> None:
        raise ZeroDivisionError("oops")

    fake()
    monkeypatch.setattr(Fake, "extract", broken)
    monkeypatch.chdir(lab.folder)
    workspace = engine.Workspace(engine_experiment(lab), lab.folder, lab.folder / "experiment.yaml")
    work = engine.plan(workspace, workspace.manifest(), "x")
    with pytest.raises(ZeroDivisionError) as caught:
        engine.execute(work, workspace, 1, lambda task, record: True)
    assert caught.value.__notes__ == ["while extracting clip s0-angry-0 with fake"]


def engine_experiment(lab: Lab):  # type: ignore[no-untyped-def]
    from pipeline.experiment import parse

    return parse(lab.document, "experiment.yaml")


def test_a_file_that_changed_since_the_manifest_is_refused(lab: Lab, change: Callable[..., None]) -> None:
    import hashlib

    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    rows = ["clip_id,subject,emotion,audio,sha256"]
    for subject in SUBJECTS:
        for label in ("angry", "happy", "sad"):
            path = lab.folder / f"{subject}-{label}.wav"
            soundfile.write(path, rng.normal(0, 0.1, 16000), 16000)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            rows.append(f"{subject}-{label},{subject},{label},{path.name},{digest}")
    (lab.folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    change("features", {"mel": {"modality": "audio", "extractor": "logmel"}})
    change("heads", {"mel-log": {"features": "mel", "head": "logistic"}})
    soundfile.write(lab.folder / "s1-sad.wav", rng.normal(0, 0.1, 16000), 16000)
    assert lab.run("extract", "audio") == 2
    (failure,) = failures(lab)
    assert (failure["clip_id"], failure["type"]) == ("s1-sad", "SourceChangedError")
    assert "s1-sad.wav changed since the manifest was made" in failure["message"]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    lab: Lab, fake: Callable[..., None], sent: signal.Signals, code: int
) -> None:
    fake(dim=2000, rows=400)
    command = [sys.executable, "-m", "pipeline.extract", "--workers", "1"]
    process = subprocess.Popen(command, cwd=lab.folder, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(lab.folder.glob("features/*/*/shard-00000.json")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    if code == 130:
        assert "run the same command again to go on" in err
        assert not list(lab.folder.glob("features/**/*.tmp"))
    assert lab.run("extract") == 0
    assert "clips are there already" in lab.out
    resumed = {p.name: p.read_bytes() for p in lab.folder.glob("features/*/*/shard-*.h5")}
    for path in lab.folder.glob("features/*/*/shard-*"):
        path.unlink()
    lab.run("extract")
    assert resumed == {p.name: p.read_bytes() for p in lab.folder.glob("features/*/*/shard-*.h5")}


@pytest.mark.usefixtures("in_processes")
def test_a_worker_that_dies_is_named_and_nothing_is_lost(
    lab: Lab, fake: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    monkeypatch.setattr(engine, "_make_in_worker", die)
    assert lab.run("extract", "--workers", "2") == 1
    assert "a worker process died while extracting 'x'" in lab.err
    monkeypatch.undo()
    monkeypatch.chdir(lab.folder)
    assert lab.run("extract") == 0


def die(*_: object) -> None:
    os._exit(9)


def test_shards_do_not_depend_on_where_the_folder_lies(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import shutil

    lab.run("extract", "au")
    here = {p.name: p.read_bytes() for p in lab.folder.glob("features/*/*/shard-*")}
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "w"
    shutil.copytree(lab.folder, elsewhere, ignore=shutil.ignore_patterns("features"))
    lab.folder = elsewhere
    lab.run("extract", "au")
    assert here == {p.name: p.read_bytes() for p in Path(elsewhere).glob("features/*/*/shard-*")}
