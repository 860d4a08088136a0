"""Audio: wav2vec2-large over clips of mixed length, and openSMILE with one and with two workers."""

import tempfile
import time
from pathlib import Path

import lab
import numpy as np
import opensmile
import soundfile
import torch
from turns import compare, say

from extractors.wav2vec2 import Wav2Vec2
from pipeline.cli import quieten

BLOCKS, PER_BLOCK = 4, 50


def wav2vec2(folder: Path) -> None:
    """Ours: bf16 in buckets of nearly equal length. Baseline: transformers, float32, one clip at a time."""
    rng = np.random.default_rng(0)
    seconds = rng.uniform(1.0, 6.0, (BLOCKS, PER_BLOCK))
    model = Wav2Vec2(weights="random")
    model.prepare()
    network = model._model
    assert network is not None
    ours, theirs, real, padded = 0.0, 0.0, 0, 0

    @torch.inference_mode()
    def baseline(path: Path) -> None:
        samples, _ = soundfile.read(path, dtype="float32")
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        network(torch.from_numpy(samples)[None]).last_hidden_state.mean(dim=1).numpy()

    for block in range(BLOCKS):
        place = folder / f"block{block}"
        place.mkdir()
        lengths = seconds[block]
        paths = [lab.speech(place / f"c{i:03d}.wav", float(s), i) for i, s in enumerate(lengths)]
        space = lab.workspace(place, [p.name for p in paths], "audio", extractor="wav2vec2", weights="random")
        plan = lab.planned(space)
        with lab.engine(plan, 1) as engine:
            list(engine.make({"x": [len(plan.tasks) - 1]}))  # starts the worker, loads the network
            began = time.perf_counter()
            lab.run(engine, plan)
            ours += time.perf_counter() - began
        began = time.perf_counter()
        for path in paths:
            baseline(path)
        theirs += time.perf_counter() - began
        for task in plan.tasks:
            windows = [w for c in task.clips for w in model.windows(plan.takes[c].clip)]
            for batch in model.batches(windows):
                sizes = [len(windows[i].data) for i in batch]
                real, padded = real + sum(sizes), padded + max(sizes) * len(sizes)
    name = (
        f"audio: wav2vec2-large shape, {BLOCKS * PER_BLOCK} clips of 1 to 6 s, {plan.identity['precision']}"
    )
    say(name, ours, theirs)
    say("audio: padding of the same, share of all samples (allowed: 0.05)", 1 - real / padded, 0.05, "share")


def opensmile_workers(folder: Path, clips: int = 256) -> None:
    """ComParE by one and by two workers that are running already; and by a user's loop, start included."""
    paths = [lab.speech(folder / f"c{i:03d}.wav", 3.7, i) for i in range(clips)]
    spec = {"extractor": "opensmile", "feature_set": "ComParE_2016"}
    space = lab.workspace(folder, [p.name for p in paths], "audio", **spec)
    plan = lab.planned(space)
    with lab.engine(plan, 1) as one, lab.engine(plan, 2) as two:
        compare(
            f"audio: openSMILE ComParE, {clips} clips, two workers against one",
            lambda: lab.run(two, plan),
            lambda: lab.run(one, plan),
            rounds=3,
        )

    def started() -> None:
        with lab.engine(plan, 2) as engine:
            lab.run(engine, plan)

    def baseline() -> None:
        smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.Functionals)
        np.save(folder / "all.npy", np.concatenate([smile.process_file(str(p)).to_numpy() for p in paths]))

    name = f"audio: openSMILE ComParE, {clips} clips, two workers with their start against a loop over files"
    compare(name, started, baseline, rounds=3)


if __name__ == "__main__":
    quieten()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        Path(name, "smile").mkdir()
        opensmile_workers(Path(name, "smile"))
        wav2vec2(Path(name))
