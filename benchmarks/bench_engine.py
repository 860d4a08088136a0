"""The engine: memory over the length of a clip, the share of writing, and Ray against local processes."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import lab
from turns import compare, say

from pipeline.cli import quieten
from pipeline.engine import collect
from pipeline.engine.cluster import RayEngine
from pipeline.engine.local import Settings

SMALL = {"extractor": "slowfast_8x8_r50", "weights": "random", "short_side": 112, "crop": 96}


def peak_memory(command: list[str], folder: Path) -> float:
    """Run a command; return the most memory that it and its children held at once, in MB."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    peak, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            peak = max(peak, sum(_resident(pid) for pid in _family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code:
        raise RuntimeError(f"{command} ended with {code}")
    return peak / 1e6


def _family(pid: int) -> list[int]:
    """Return a process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in _family(int(child)))]


def _resident(pid: int) -> float:
    """Return the bytes that a process has for itself, and its part of what it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0.0)


def memory(folder: Path) -> None:
    """A clip of ten minutes against one of ten seconds, both 1080p, through the whole command."""
    peaks = {}
    for name, times in (("short", 1), ("long", 60)):
        place = folder / name
        place.mkdir()
        lab.video(place / "clip.mp4", 1920, 1080, 300, times)
        (place / "manifest.csv").write_text("clip_id,subject,emotion,video\nclip,s0,a,clip.mp4\n")
        options = ", ".join(f"{k}: {v}" for k, v in SMALL.items())
        (place / "experiment.yaml").write_text(f"features: {{x: {{modality: video, {options}}}}}\n")
        command = [sys.executable, "-m", "pipeline.extract", "--precision", "fp32"]
        peaks[name] = peak_memory(command, place)
    say("engine: peak memory, ten minutes against ten seconds of 1080p", peaks["long"], peaks["short"], "MB")


def writing(folder: Path) -> None:
    """The seconds in which shards are built and published, of all that a SlowFast run takes."""
    paths = [lab.video(folder / f"c{i}.mp4", 1280, 720, 111, seed=i) for i in range(4)]
    space = lab.workspace(
        folder, [p.name for p in paths], "video", extractor="slowfast_8x8_r50", weights="random"
    )
    plan = lab.planned(space)
    spent = 0.0
    publish = collect.write_shard

    def timed(*args: object, **options: object) -> object:
        nonlocal spent
        began = time.perf_counter()
        record = publish(*args, **options)  # type: ignore[arg-type]
        spent += time.perf_counter() - began
        return record

    with lab.engine(plan, 2) as engine:
        lab.run(engine, plan)
        collect.write_shard = timed  # type: ignore[assignment]
        began = time.perf_counter()
        lab.run(engine, plan)
        whole = time.perf_counter() - began
        collect.write_shard = publish
    say("engine: share of writing in a SlowFast run (allowed: 0.02)", spent / whole, 0.02, "share")


def cluster(folder: Path, clips: int = 2048) -> None:
    """Two actors of a Ray cluster on this machine against two local workers, both with their start."""
    from ray.cluster_utils import Cluster

    paths = [lab.speech(folder / f"c{i:04d}.wav", 3.7, i) for i in range(clips)]
    spec = {"extractor": "opensmile", "feature_set": "ComParE_2016"}
    space = lab.workspace(folder, [p.name for p in paths], "audio", **spec)
    plan = lab.planned(space)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})

    def ray() -> None:
        with RayEngine([plan], Settings(2, probe=False), lab.Quiet(), made.address) as engine:
            for _ in engine.make({"x": range(len(plan.tasks))}):
                pass

    def local() -> None:
        with lab.engine(plan, 2) as engine:
            lab.run(engine, plan)

    compare(
        f"engine: openSMILE ComParE, {clips} clips, Ray with 2 against local with 2", ray, local, rounds=2
    )
    made.shutdown()


if __name__ == "__main__":
    quieten()

    for measure in (writing, memory, cluster):
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name))
