"""Small corpora for the benchmarks, and our engine on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.engine.local import LocalEngine, Settings
from pipeline.engine.messages import Failed, Job
from pipeline.engine.plan import Plan, Takes, make_plan
from pipeline.experiment import parse
from pipeline.store import record_path
from pipeline.workspace import Workspace

RATE = 16000


class Quiet:
    """A listener that only counts failures."""

    def __init__(self) -> None:
        self.failed = 0

    def clip(self, job: Job, seconds: float | None, failures: Sequence[Failed]) -> None:
        """Count."""
        self.failed += len(failures)

    def note(self, text: str) -> None:
        """Nothing."""


def workspace(folder: Path, files: Sequence[str], column: str, **spec: Any) -> Workspace:
    """Write a manifest of some files, and return an experiment with one feature "x"."""
    rows = [f"{Path(f).stem},s{i % 4},a,{f}" for i, f in enumerate(files)]
    (folder / "manifest.csv").write_text(f"clip_id,subject,emotion,{column}\n" + "\n".join(rows) + "\n")
    document = {"features": {"x": {"modality": column, **spec}}}
    return Workspace(parse(document, "bench"), folder, folder / "experiment.yaml")


def planned(space: Workspace, precision: str = "auto", feature: str = "x") -> Plan:
    """Return the plan of a feature, as if nothing had been done."""
    manifest = space.manifest()
    plan = make_plan(space, manifest, Takes(manifest, space.root), feature, precision=precision)
    for task in plan.tasks:
        record_path(task.path).unlink(missing_ok=True)
    plan.finished.clear()
    return plan


@contextmanager
def engine(plan: Plan, workers: int) -> Iterator[LocalEngine]:
    """Run a local engine."""
    listener = Quiet()
    with LocalEngine([plan], Settings(workers, probe=False), listener) as made:
        yield made
    if listener.failed:
        raise RuntimeError(f"{listener.failed} clips failed")


def run(made: LocalEngine, plan: Plan) -> None:
    """Make every shard."""
    for _ in made.make({plan.feature: range(len(plan.tasks))}):
        pass


def speech(path: Path, seconds: float, seed: int = 0) -> Path:
    """Write noise under a syllable-like envelope."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(size=len(time))
    soundfile.write(path, 0.1 * noise * np.sin(12 * time) ** 2, RATE)
    return path


def video(path: Path, width: int, height: int, frames: int, times: int = 1, seed: int = 0) -> Path:
    """Write H.264 video of a picture that moves; `times` repeats its packets without encoding again."""
    still = _picture(width, height, seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.max_b_frames = 0
        stream.codec_context.time_base = Fraction(1, 30)
        packets = []
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(still, 4 * i, axis=1), format="rgb24")
            packets += [bytes(p) for p in stream.encode(frame)]
        packets += [bytes(p) for p in stream.encode()]
        for i, data in enumerate(packets * times):
            packet = av.Packet(data)
            packet.pts = packet.dts = i
            packet.duration, packet.time_base, packet.stream = 1, Fraction(1, 30), stream
            packet.is_keyframe = i % len(packets) == 0
            container.mux(packet)
    return path


def _picture(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """A picture with detail like a camera's: smooth shapes and a little noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    smooth = np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width]
    noise = rng.integers(0, 12, smooth.shape, dtype=np.uint8)
    return (smooth // 2 + noise + 32).astype(np.uint8)
