"""Extraction: 64 spoken clips through openSMILE, and 4 clips of 720p video through SlowFast."""

import logging
import tempfile
from pathlib import Path

import av
import numpy as np
import opensmile
import soundfile
import torch
from turns import compare

from extractors import Clip
from extractors.slowfast import SlowFast8x8R50
from pipeline import engine
from pipeline.cli import quieten
from pipeline.experiment import Workspace, parse

RATE, CLIPS = 16000, 64


def speech(folder: Path) -> list[Path]:
    """Write clips of 3.7 s of noise under a syllable-like envelope."""
    rng = np.random.default_rng(0)
    time = np.arange(round(3.7 * RATE)) / RATE
    paths = []
    for i in range(CLIPS):
        path = folder / f"clip{i:03d}.wav"
        soundfile.write(path, 0.1 * rng.normal(size=len(time)) * np.sin(12 * time) ** 2, RATE)
        paths.append(path)
    return paths


def bench_opensmile(folder: Path) -> None:
    """Ours: store, records, checks and two processes. Baseline: a loop over files into one array file."""
    paths = speech(folder)
    rows = [f"{p.stem},s{i % 4},a,{p.name}" for i, p in enumerate(paths)]
    (folder / "manifest.csv").write_text("clip_id,subject,emotion,audio\n" + "\n".join(rows) + "\n")
    spec = {"modality": "audio", "extractor": "opensmile", "feature_set": "ComParE_2016"}
    workspace = Workspace(parse({"features": {"x": spec}}, "bench"), folder, folder / "experiment.yaml")
    manifest = workspace.manifest()

    def ours(workers: int) -> None:
        work = engine.plan(workspace, manifest, "x")
        for task in work.tasks:
            task.path.with_suffix(".json").unlink(missing_ok=True)
        work.finished.clear()
        engine.execute(work, workspace, workers, lambda task, record: True)

    def baseline() -> None:
        smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.Functionals)
        np.save(folder / "all.npy", np.concatenate([smile.process_file(str(p)).to_numpy() for p in paths]))

    compare("opensmile ComParE, 64 clips, 1 process", lambda: ours(1), baseline, rounds=3)
    compare("opensmile ComParE, 64 clips, 2 processes with their start", lambda: ours(2), baseline, rounds=3)


def bench_slowfast(folder: Path) -> None:
    """Ours: frames on the grid only, resized while converting. Baseline: every frame to RGB, then resize."""
    path = folder / "clip.mp4"
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (720, 1280, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i in range(111):
            frame = av.VideoFrame.from_ndarray(np.roll(still, 4 * i, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    extractor = SlowFast8x8R50(weights="random")
    extractor.prepare()
    model = extractor._model
    assert model is not None

    def decode_baseline() -> torch.Tensor:
        with av.open(str(path)) as container:
            frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        video = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 255
        video = (video - 0.45) / 0.225
        small = torch.nn.functional.interpolate(video.transpose(0, 1), size=(256, 455), mode="bilinear")
        return small[:, :, 16:240, 115:339].transpose(0, 1)

    @torch.inference_mode()
    def baseline() -> None:
        video = decode_baseline()
        for start in (0, 32):
            fast = video[None, :, start : start + 64 : 2]
            model([fast[:, :, torch.linspace(0, 31, 8).long()], fast])

    clip = Clip("clip", video=path)
    compare("decode and cut windows, 720p, 3.7 s", lambda: list(extractor.windows(clip)), decode_baseline)
    compare("slowfast 8x8 R50, fp32, end to end, 720p, 3.7 s", lambda: extractor.extract(clip), baseline)


if __name__ == "__main__":
    quieten()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        bench_opensmile(Path(name))
        bench_slowfast(Path(name))
