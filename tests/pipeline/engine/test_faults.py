"""Whole runs as a user starts them, and what may happen to their processes."""

import hashlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clip_makers
import numpy as np
import pytest
import soundfile
from engine_lab import alive, children, until
from lab import Lab

from affectstack.hashing import clip_sha256
from extractors import Clip
from extractors.clip_networks import SlowFast8x8R50
from extractors.fake import Fake
from extractors.logmel import LogMel
from pipeline.engine.messages import Cut, Failed, Job, Limits, Setup, Take, Whole
from pipeline.engine.pool import DecoderPool
from pipeline.store import read_record

COMMAND = [sys.executable, "-m", "pipeline.extract", "all", "--workers", "2"]
HOUSE = str(Path(__file__).parents[3])


def start(lab: Lab, *args: str, **options: Any) -> "subprocess.Popen[str]":
    """Start a run in a group of its own, as a shell does."""
    return subprocess.Popen(
        [*COMMAND, *args],
        cwd=lab.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, "PYTHONPATH": HOUSE},
        **options,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def files(lab: Lab) -> dict[str, str]:
    """Return the sha256 of every shard and record."""
    return {
        str(p.relative_to(lab.folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(lab.folder.glob("features/*/*/shard-*"))
    }


def forget(lab: Lab) -> None:
    for path in lab.folder.glob("features/*/*/*"):
        path.unlink()


def temporaries(lab: Lab) -> list[Path]:
    return list(lab.folder.glob("features/**/.*.tmp"))


def assert_readable(lab: Lab) -> None:
    """Every shard that has a record is what the record says, at any moment."""
    for path in lab.folder.glob("features/*/*/shard-*.json"):
        record = read_record(path.with_suffix(".h5"))
        assert record is not None, path
        data = path.with_suffix(".h5").read_bytes()
        assert hashlib.sha256(data).hexdigest() == record.sha256, path


@pytest.fixture
def fakes(lab: Lab, change: Callable[..., None]) -> Callable[..., None]:
    """Make the experiment's only features fake ones that run in decode workers; options are by name."""

    def apply(**features: dict[str, Any]) -> None:
        usual = {"modality": "video", "extractor": "fake", "worker": True, "shard": 8}
        change("features", {name: {**usual, **options} for name, options in features.items()})
        change("heads", {})

    return apply


@pytest.fixture
def sounds(lab: Lab, change: Callable[..., None]) -> None:
    """Make the experiment one of openSMILE over real sound."""
    rng = np.random.default_rng(0)
    lines = ["clip_id,subject,audio,sha256"]
    for i in range(24):
        path = lab.folder / f"{i}.wav"
        soundfile.write(path, rng.normal(0, 0.1, 8000), 16000)
        lines.append(f"c{i},s{i % 4},{path.name},{clip_sha256([path])}")
    (lab.folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    change("features", {"eg": {"modality": "audio", "extractor": "opensmile"}})
    change("heads", {})


def kill_until_done(lab: Lab, kills: int, span: float) -> int:
    """Kill runs after seeded delays, then let one finish; return how many were killed in the middle."""
    dice, killed = random.Random(0), 0
    for _ in range(kills):
        process = start(lab)
        workers: set[int] = set()
        end = time.monotonic() + 60
        # The delay counts from the first worker on: before it there is nothing to break.
        while not (workers := children(process.pid)) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, span))
        workers |= children(process.pid)
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        assert_readable(lab)
        until(lambda w=workers: not any(map(alive, w)), 10)  # type: ignore[misc]
    code, _, err = finish(start(lab))
    assert code == 0, err
    return killed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_leave_nothing_unreadable_and_the_same_bytes(
    lab: Lab, fakes: Callable[..., None]
) -> None:
    large = {"dim": 500, "rows": 200}
    fakes(x={"seconds": 0.2, "shard": 4, **large}, y={"seed": 1, "shard": 12, **large})
    assert finish(start(lab))[0] == 0
    whole = files(lab)
    assert len(whole) == 2 * (18 + 6)
    forget(lab)
    assert kill_until_done(lab, 20, 1.2) > 10
    assert files(lab) == whole


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("sounds")
def test_kills_with_real_media_leave_the_same_bytes(lab: Lab) -> None:
    assert finish(start(lab))[0] == 0
    whole = files(lab)
    forget(lab)
    assert kill_until_done(lab, 5, 1.0) > 0
    assert files(lab) == whole


def test_old_temporaries_are_swept_and_young_ones_are_not(lab: Lab, fakes: Callable[..., None]) -> None:
    fakes(x={"worker": False})
    assert lab.run("extract") == 0
    (folder,) = lab.folder.glob("features/fake/*")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old, young = (folder / f".shard-0000{i}.h5.{dead.pid}-{'0' * 32}.tmp" for i in range(2))
    for path in (old, young):
        path.write_bytes(b"half")
    two_days_ago = time.time() - 2 * 86400
    os.utime(old, (two_days_ago, two_days_ago))
    assert lab.run("extract") == 0
    assert temporaries(lab) == [young]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("group", [False, True], ids=["process", "terminal"])
def test_a_request_to_end_leaves_nothing_half_made(
    lab: Lab, fakes: Callable[..., None], sent: signal.Signals, code: int, group: bool
) -> None:
    fakes(x={"seconds": 0.05, "dim": 500, "rows": 200})
    process = start(lab)
    until(lambda: len(list(lab.folder.glob("features/*/*/shard-*.json"))) >= 2)
    workers = children(process.pid)
    assert len(workers) == 2
    (os.killpg if group else os.kill)(process.pid, sent)
    found, _, err = finish(process)
    assert found == code
    assert err == "error: interrupted; run the same command again to go on where it stopped\n"
    assert not temporaries(lab)
    assert not any(map(alive, workers))
    assert_readable(lab)
    assert 0 < len(files(lab)) < 18
    again, out, err = finish(start(lab))
    assert again == 0, err
    assert "of 72 clips are there already" in out
    resumed = files(lab)
    forget(lab)
    fakes(x={"dim": 500, "rows": 200, "worker": False})
    assert lab.run("extract") == 0
    assert files(lab) == resumed


@pytest.mark.slow
def test_an_interrupt_while_workers_start_prints_one_line(lab: Lab, fakes: Callable[..., None]) -> None:
    fakes(x={"seconds": 0.05})
    process = start(lab)
    until(lambda: children(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert err == "error: interrupted; run the same command again to go on where it stopped\n"


@pytest.mark.slow
def test_an_interrupt_while_shards_are_written_leaves_no_temporary(
    lab: Lab, fakes: Callable[..., None]
) -> None:
    fakes(x={"worker": False, "dim": 4000, "rows": 400, "shard": 4})  # 25 MB each
    process = start(lab)
    until(lambda: temporaries(lab))
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    assert not temporaries(lab)
    assert_readable(lab)


def small_files() -> None:
    """Let no file of this process grow beyond 300 kB, and let writing say so."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


@pytest.mark.slow
def test_a_full_disk_is_one_line_that_names_path_and_bytes(lab: Lab, fakes: Callable[..., None]) -> None:
    fakes(x={"shard": 8, "dim": 50, "rows": 10})
    assert finish(start(lab))[0] == 0
    older = files(lab)
    fakes(x={"shard": 8, "dim": 50, "rows": 10}, big={"shard": 24, "dim": 500, "rows": 20, "seed": 1})
    process = start(lab, preexec_fn=small_files)
    until(lambda: children(process.pid))
    workers = children(process.pid)
    code, _, err = finish(process)
    assert code == 3, err
    assert err.count("\n") == 1
    assert "cannot write" in err
    assert re.search(r"features/fake/\w+/shard-0000\d.h5 \(\d{6,} bytes\): File too large", err), err
    assert "make room, or make the folder writable, and run the same command again" in err
    assert not temporaries(lab)
    assert not any(map(alive, workers))
    assert {k: v for k, v in files(lab).items() if k in older} == older
    assert_readable(lab)
    code, out, err = finish(start(lab))
    assert code == 0, err
    assert "x: fake" in out
    assert "72 of 72 clips are there already" in out
    assert_readable(lab)
    assert len(files(lab)) == 18 + 6


WITHOUT_OVERRIDE = """
import ctypes, os, sys
if os.getuid() == 0:  # root may write anywhere, unless it gives that up
    for capability in (1, 2):
        if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
            sys.exit(99)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "log"])
def test_a_folder_that_cannot_be_written_is_one_line(
    lab: Lab, fakes: Callable[..., None], before: str
) -> None:
    fakes(x={})
    features = lab.folder / "features"
    features.mkdir()
    if before == "log":
        (features / "log.jsonl").touch()
    features.chmod(0o555)
    command = [sys.executable, "-c", WITHOUT_OVERRIDE, *COMMAND[1:]]
    done = subprocess.run(
        command,
        cwd=lab.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": HOUSE},
    )
    features.chmod(0o755)
    if done.returncode == 99 or (done.returncode == 0 and os.getuid() == 0):
        pytest.skip("root cannot give up its rights here")
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stderr
    assert "cannot write" in done.stderr
    assert "make the folder writable" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_three_runs_at_once_on_one_folder_all_finish(lab: Lab, fakes: Callable[..., None]) -> None:
    fakes(x={"seconds": 0.01, "dim": 200, "rows": 50}, y={"seed": 1, "shard": 5})
    assert finish(start(lab))[0] == 0
    single = files(lab)
    forget(lab)
    runs = [start(lab) for _ in range(3)]
    for code, _, err in map(finish, runs):
        assert code == 0, err
        assert err == ""
    assert files(lab) == single
    assert_readable(lab)
    assert not temporaries(lab)
    for line in (lab.folder / "features/log.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.slow
def test_workers_do_not_outlive_a_parent_that_is_killed_while_they_hang(
    lab: Lab, fakes: Callable[..., None]
) -> None:
    fakes(x={"fault": "hang", "on": ["s0-angry-0"]})
    process = start(lab)
    until(lambda: len(children(process.pid)) == 2)
    time.sleep(1.5)
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not any(map(alive, workers)), 10)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return data with something done to it, which may be nothing."""
    out = bytearray(data)
    kind = dice.choice(["flip", "flips", "cut", "zeros", "swap", "insert", "header"])
    at = dice.randrange(len(out))
    if kind == "flip":
        out[at] ^= 1 << dice.randrange(8)
    elif kind == "flips":
        for _ in range(dice.randrange(1, 200)):
            out[dice.randrange(len(out))] = dice.randrange(256)
    elif kind == "cut":
        del out[at:]
    elif kind == "zeros":
        out[at : at + dice.randrange(1, 400)] = bytes(dice.randrange(1, 400))
    elif kind == "swap":
        other = dice.randrange(len(out))
        out[at : at + 64], out[other : other + 64] = out[other : other + 64], out[at : at + 64]
    elif kind == "insert":
        out[at:at] = dice.randbytes(dice.randrange(1, 100))
    else:  # the boxes that say where everything lies
        start = max(out.find(b"moov"), 0)
        for _ in range(dice.randrange(1, 8)):
            out[min(start + dice.randrange(1200), len(out) - 1)] = dice.randrange(256)
    return bytes(out)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("hashed", [False, True], ids=["decoded", "refused"])
def test_no_damage_to_a_file_harms_more_than_its_clip(tmp_path: Path, hashed: bool) -> None:
    sound = [(0.0, clip_makers.tone(0.6, 16000))]
    whole = clip_makers.write_clip(tmp_path / "whole.mp4", 15, sound=sound).read_bytes()
    sha256 = hashlib.sha256(whole).hexdigest() if hashed else ""
    dice, jobs, same = random.Random(0), [], set()
    for i in range(300):
        path = tmp_path / f"{i}.mp4"
        path.write_bytes(data := mutated(whole, dice) if i else whole)
        if data == whole:
            same.add(i)
        jobs.append(Job(i, Take(Clip(f"c{i}", path), sha256, (path,)), ("clip", "mel")))
    extractors = {
        "clip": SlowFast8x8R50(weights="random", short_side=64, crop=64, sampling_rate=1, fps=25.0),
        "mel": LogMel(),
    }
    limits = Limits(20.0, 2 << 30)
    kinds: dict[str, int] = {}
    bugs: set[str] = set()
    with DecoderPool(Setup(extractors, limits.bytes), 2, limits) as pool:
        for position, (job, items) in enumerate(pool.stream(jobs)):
            assert job.position == position
            got: dict[str, str] = {}
            for item in items:
                if isinstance(item, Failed):
                    got[item.feature] = item.type
                    bugs |= {item.detail} - {""}
                elif isinstance(item, Cut | Whole):
                    got.setdefault(item.feature, "features")
            assert set(got) == {"clip", "mel"}, got
            if hashed:
                wanted = "features" if position in same else "SourceChangedError"
                assert set(got.values()) == {wanted}, position
            for kind in got.values():
                kinds[kind] = kinds.get(kind, 0) + 1
    assert not bugs, "\n".join(sorted(bugs))
    assert sum(kinds.values()) == 600
    if not hashed:
        assert kinds["features"] > 100
        assert kinds["DecodeError"] > 50
    assert set(kinds) <= {
        "features", "DecodeError", "MissingMediaError", "TooShortError", "LimitExceededError",
        "SourceChangedError", "TimeLimitError", "WorkerDiedError",
    }, kinds  # fmt: skip


def test_a_fake_that_needs_no_worker_starts_none(lab: Lab, fakes: Callable[..., None]) -> None:
    fakes(x={"worker": False})
    before = children()
    assert lab.run("extract") == 0
    assert children() == before
    assert Fake().reads_media is False
