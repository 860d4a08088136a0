import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from lab import SUBJECTS, Lab

from extractors import EXTRACTORS, Clip
from extractors.contract import FloatArray, Window, WindowExtractor
from pipeline.store import FeatureStore


def failures(lab: Lab) -> list[dict[str, str]]:
    (path,) = lab.folder.glob("features/*/*/failures.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def fake(lab: Lab, change: Callable[..., None]) -> Callable[..., None]:
    """Make the experiment's only feature a fake one with the options given."""

    def apply(**options: object) -> None:
        change("features", {"x": {"modality": "video", "extractor": "fake", "shard": 32, **options}})
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
        "verified.json",
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


def shards(lab: Lab) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in lab.folder.glob("features/*/*/shard-*")}


def test_workers_give_the_same_bytes_as_this_process(lab: Lab, fake: Callable[..., None]) -> None:
    fake()
    lab.run("extract")
    one = shards(lab)
    for path in lab.folder.glob("features/*/*/shard-*"):
        path.unlink()
    fake(worker=True)
    assert lab.run("extract", "--workers", "2") == 0, lab.err
    assert one == shards(lab)


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


@pytest.mark.parametrize("worker", [False, True])
def test_a_bug_costs_the_clip_and_its_traceback_is_in_the_log(
    lab: Lab, fake: Callable[..., None], worker: bool
) -> None:
    fake(fault="bug", on=["s0-angry-0"], worker=worker)
    assert lab.run("extract") == 2
    assert [f["type"] for f in failures(lab)] == ["KeyError"]
    assert "(a bug, in _bug of fake.py)" in failures(lab)[0]["message"]
    (event,) = [e for e in log(lab) if e["event"] == "failure"]
    assert "Traceback" in event["traceback"]


def log(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (lab.folder / "features/log.jsonl").read_text().splitlines()]


def test_a_file_that_changed_since_the_manifest_is_refused(lab: Lab, change: Callable[..., None]) -> None:
    import hashlib

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


@pytest.mark.parametrize(
    ("fault", "args", "kind", "message"),
    [
        ("crash", [], "WorkerDiedError", "the process that decoded it was ended by signal SIGSEGV"),
        ("hang", ["--clip-timeout", "1"], "TimeLimitError", "no sign of life for 1 s"),
        ("memory", [], "LimitExceededError", "needs more memory than one clip may take"),
    ],
)
def test_a_clip_that_ends_its_worker_costs_that_clip(
    lab: Lab, fake: Callable[..., None], fault: str, args: list[str], kind: str, message: str
) -> None:
    fake(fault=fault, on=["s3-sad-2"], worker=True)
    assert lab.run("extract", *args) == 2, lab.err
    (failure,) = failures(lab)
    assert (failure["clip_id"], failure["type"], failure["message"]) == ("s3-sad-2", kind, message)
    assert f"failed: s3-sad-2: {kind}: {message}" in lab.out
    assert json.loads((lab.folder / "features/x.json").read_text())["clips"] == 71
    fake(worker=True)
    assert lab.run("extract", "--retry-failed") == 0
    assert failures(lab) == []


def test_a_crash_in_one_feature_leaves_the_clips_other_features(
    lab: Lab, change: Callable[..., None]
) -> None:
    usual = {"modality": "video", "extractor": "fake", "worker": True}
    crash = {**usual, "seed": 1, "fault": "crash", "on": ["s3-sad-2"]}
    change("features", {"good": usual, "bad": crash, "last": {**usual, "seed": 2}})
    change("heads", {})
    assert lab.run("extract", "all") == 2, lab.err
    indexes = {
        n: json.loads((lab.folder / f"features/{n}.json").read_text()) for n in ("good", "bad", "last")
    }
    assert {n: (i["clips"], i["failed"]) for n, i in indexes.items()} == {
        "good": (72, 0),
        "bad": (71, 1),
        "last": (72, 0),
    }
    (event,) = [e for e in log(lab) if e["event"] == "failure"]
    assert (event["feature"], event["clip_id"], event["type"]) == ("bad", "s3-sad-2", "WorkerDiedError")


@pytest.mark.parametrize("worker", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("nan", "BadFeaturesError", "value nan in row 0, column 0"),
        ("shape", "BadFeaturesError", "values are float32 [3, 7]; expected float32 [T, 8]"),
        ("type", "BadFeaturesError", "values are float64 [3, 8]; expected float32 [T, 8]"),
        ("empty", "TooShortError", "the extractor gave no rows"),
        ("noise", "BadFeaturesError", "two runs over the same clip gave different values"),
    ],
)
def test_an_extractor_that_breaks_the_contract_is_refused_and_the_clip_is_named(
    lab: Lab, fake: Callable[..., None], worker: bool, fault: str, kind: str, message: str
) -> None:
    fake(fault=fault, on=["s0-angry-0"], worker=worker)  # the first clip, which is done twice
    assert lab.run("extract") == 2, lab.err
    (failure,) = failures(lab)
    assert (failure["clip_id"], failure["type"]) == ("s0-angry-0", kind)
    assert message in failure["message"]


LOGMEL: dict[str, object] = {
    "rate": 8000, "n_fft": 512, "hop": 128, "bands": 32, "low": 60.0, "high": 7000.0,
}  # fmt: skip


@pytest.fixture
def mel(lab: Lab, change: Callable[..., None]) -> Callable[..., None]:
    """Make the experiment's only feature log-mel spectrograms of three short sounds."""
    import soundfile

    rng = np.random.default_rng(0)
    for i in range(3):
        soundfile.write(lab.folder / f"{i}.wav", rng.normal(0, 0.1, 4000), 16000)
    lines = [f"c{i},s{i},sad,{i}.wav" for i in range(3)]
    (lab.folder / "manifest.csv").write_text("\n".join(["clip_id,subject,emotion,audio", *lines]) + "\n")
    change("heads", {})

    def apply(**options: object) -> None:
        change("features", {"mel": {"modality": "audio", "extractor": "logmel", **options}})

    return apply


@pytest.mark.slow
def test_every_option_of_an_extractor_is_in_its_identity_and_never_mixes(
    lab: Lab, mel: Callable[..., None]
) -> None:
    import inspect

    from extractors.logmel import LogMel

    assert set(inspect.signature(LogMel).parameters) == set(LOGMEL)
    mel()
    assert lab.run("extract", "audio") == 0, lab.err
    first = shards(lab)
    for count, (key, value) in enumerate(LOGMEL.items(), start=2):
        mel(**{key: value})
        assert lab.run("extract", "audio") == 0, lab.err
        before = LogMel().identity()[key]
        (line,) = [text for text in lab.out.splitlines() if "with another identity" in text]
        assert f"{key}: {before!r} -> {value!r}" in line
        assert line.endswith("; not mixed")
        # The upper edge follows the rate where nothing is said about it.
        assert line.count("->") == (2 if key == "rate" else 1)
        assert "already" not in lab.out
        assert len(list(lab.folder.glob("features/logmel/*"))) == count
        mel()
        assert lab.run("extract", "audio") == 0
        assert "3 of 3 clips are there already" in lab.out
    folder = lab.folder / json.loads((lab.folder / "features/mel.json").read_text())["folder"]
    assert {p.name: p.read_bytes() for p in folder.glob("shard-*")} == first


def test_another_decoder_is_another_identity(
    lab: Lab, mel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mel()
    assert lab.run("extract", "audio") == 0, lab.err
    monkeypatch.setattr("extractors.logmel.DECODER", "other-1.0")
    assert lab.run("extract", "audio") == 0
    assert "extracted before with another identity (decoder: " in lab.out
    assert "other-1.0" in lab.out
    assert "already" not in lab.out


class Network(WindowExtractor):
    """A network of one number that looks things up, so that it runs in this process."""

    modality = "video"
    reads_media = False
    noise = 0.0
    feature_names = ("x",)

    @property
    def allows_bf16(self) -> bool:
        return True

    def identity(self) -> dict[str, Any]:
        return {"precision": self.precision}

    def windows(self, clip: Clip) -> Iterator[Window]:
        yield Window(np.ones(1, np.float32), 0.0, 1.0)

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        values = 1.0 + self.noise * np.random.default_rng().normal(size=len(windows))
        return [np.array([[v]], np.float32) for v in values]


@pytest.fixture
def network(lab: Lab, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> type[Network]:
    """Make the experiment's only feature one of a small network."""
    monkeypatch.setitem(EXTRACTORS._entries, "network", Network)
    change("features", {"n": {"modality": "video", "extractor": "network"}})
    change("heads", {})
    return Network


@pytest.mark.usefixtures("network")
def test_precisions_never_mix(lab: Lab) -> None:
    assert lab.run("extract", "--precision", "fp32") == 0, lab.err
    assert "n: network, 1 values, fp32" in lab.out
    assert lab.run("extract", "--precision", "bf16") == 0, lab.err
    assert "n: network, 1 values, bf16" in lab.out
    assert "another identity (precision: 'fp32' -> 'bf16'); not mixed" in lab.out
    assert "already" not in lab.out
    assert len(list(lab.folder.glob("features/network/*"))) == 2


def test_a_network_that_does_not_repeat_itself_is_refused(
    lab: Lab, network: type[Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "noise", 0.1)
    assert lab.run("extract") == 1
    assert "feature 'n': two runs over the same windows gave different values" in lab.err
    assert lab.err.count("\n") == 1
    assert not list(lab.folder.glob("features/network/*/shard-*"))


def test_a_disk_that_is_full_at_the_end_is_exit_code_3_too(
    lab: Lab, fake: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.files import WriteError

    def full(*_: object) -> None:
        raise WriteError("cannot write failures.csv (9 bytes): the disk is full")

    fake()
    monkeypatch.setattr("pipeline.extract.publish_index", full)
    assert lab.run("extract") == 3
    assert "the disk is full. Shards that are finished are kept: make room" in lab.err
    monkeypatch.undo()
    monkeypatch.chdir(lab.folder)
    assert lab.run("extract") == 0
    assert "72 of 72 clips are there already" in lab.out


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


# A folder of videos, and nothing else


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(("a.mp4", "b.mp4", "more/c.mp4")):
        picture = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("h264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for _ in range(60):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


SMALL = ("--set", "features.clip.short_side=64", "--set", "features.clip.crop=64")


def test_a_folder_becomes_features_by_one_command(videos: Path, lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["extract", "video", "--folder", str(videos), "--out", str(out), "--max-failed", "1"]
    command += ["--network", "x3d_xs", "--weights", "random", "--windows", "segments", *SMALL]
    assert lab.run(*command) == 2, lab.err
    assert "3 clips, 1 failed" in lab.out
    assert "12 windows of " in lab.out
    assert "UNTRAINED" in lab.out
    assert lab.out.rstrip().endswith(
        f"store export clip --format npy --out clip-npy --experiment {out / 'experiment.yaml'}"
    )
    index = json.loads((out / "features/clip.json").read_text())
    assert FeatureStore(out / index["folder"])["c", ""].values.shape == (4, 2048)
    assert lab.run(*command) == 2, lab.err
    assert "4 of 4 clips are there already" in lab.out
    other = [w if w != "segments" else "clip" for w in command]
    assert lab.run(*other) == 1
    assert "exists and differs" in lab.err
    assert lab.run(*other, "--force") == 2, lab.err


def test_what_goes_with_a_folder_is_refused_without_one(lab: Lab) -> None:
    for option in (["--network", "x3d_m"], ["--weights", "random"], ["--windows", "clip"], ["--force"]):
        assert lab.run("extract", *option) == 1
        assert "go with --folder; of an experiment, change its file or give --set" in lab.err


def test_a_folder_with_a_network_or_windows_that_do_not_exist_is_refused(videos: Path, lab: Lab) -> None:
    where = [
        "extract",
        "video",
        "--folder",
        str(videos),
        "--out",
        str(videos.parent / "o"),
        "--weights",
        "random",
    ]
    assert lab.run(*where, "--network", "x3d-m") == 1
    assert "did you mean 'x3d_m'" in lab.err
    assert lab.run(*where, "--windows", "all") == 1
    assert "features.clip.windows" in lab.err
    assert not (videos.parent / "o").exists()
