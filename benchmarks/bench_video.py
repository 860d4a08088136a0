"""Video: SlowFast 8x8 R50, X3D-M and MViTv2-S over 720p clips of 3.7 s."""

import tempfile
from pathlib import Path

import av
import lab
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from turns import best, compare, say

from extractors import Clip
from extractors.clip_networks import SlowFast8x8R50
from extractors.contract import FloatArray
from extractors.networks.loading import build
from extractors.networks.zoo import zoo_config
from extractors.weights import Weights
from pipeline.cli import quieten
from pipeline.workspace import Workspace

CLIPS, WORKERS = 6, 2
OTHERS = ("x3d_m", "mvit_v2_s")


class Baseline:
    """What a user of PySlowFast writes today: every frame to full-size RGB, resize, float32, clip by clip."""

    def __init__(self, name: str) -> None:
        self.config = zoo_config(name)
        self.body = build(self.config, Weights(), 0)

    def decode(self, path: Path) -> torch.Tensor:
        """Return `[3, T, 224, 224]`."""
        with av.open(str(path)) as container:
            frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        video = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 255
        video = (video - 0.45) / 0.225
        small = torch.nn.functional.interpolate(video.transpose(0, 1), size=(256, 455), mode="bilinear")
        return small[:, :, 16:240, 115:339].transpose(0, 1)

    @torch.inference_mode()
    def extract(self, path: Path) -> None:
        """Run the network on windows that overlap by half."""
        video = self.decode(path)
        rate = self.config.DATA.SAMPLING_RATE
        span = self.config.DATA.NUM_FRAMES * rate
        for start in range(0, video.shape[1] - span + 1, span // 2):
            clip = video[None, :, start : start + span : rate]
            self.body.pool(self.body(self.body.pathways(clip)))


def matrix_rate(dtype: torch.dtype) -> float:
    """Return the FLOP/s of a matrix product that fits the caches well."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    a @ b
    return 2 * 2048**3 / best(lambda: a @ b, 15)


def floor_seconds(paths: list[Path], flop: float) -> float:
    """Return the least that the clips could take: decoding alone, and the products at the measured rate."""

    def decode() -> None:
        for path in paths:
            with av.open(str(path)) as container:
                container.streams.video[0].thread_type = "AUTO"
                for _ in container.decode(video=0):
                    pass

    return best(decode) + 2 * len(paths) * flop / matrix_rate(torch.bfloat16)


def rows(paths: list[Path], extractor: SlowFast8x8R50) -> FloatArray:
    """Return the features of all windows."""
    return np.concatenate([extractor.extract(Clip("c", video=p)).values for p in paths])


def whole_road(
    space: Workspace, paths: list[Path], baseline: Baseline, flop: float, precision: str, compiled: bool
) -> None:
    """Measure the engine with everything warm, against the baseline and against the floor."""
    plan = lab.planned(space, precision)
    title = f"video: {plan.identity['extractor']}, {CLIPS} clips 720p, {plan.identity['precision']}"
    with lab.engine(plan, WORKERS) as engine:

        def ours() -> None:
            lab.run(engine, plan)

        ours()  # starts workers, loads the network
        if compiled:
            plan.extractor.speed_up(10**6)  # type: ignore[attr-defined]
            ours()
            title += ", compiled, as for a large corpus"
        compare(title, ours, lambda: [baseline.extract(p) for p in paths], rounds=2)
        if precision == "auto" and flop:
            say(f"{title}, against the floor", best(ours), floor_seconds(paths, flop))


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [lab.video(folder / f"clip{i}.mp4", 1280, 720, 111, seed=i) for i in range(CLIPS)]
        spaces = {
            name: lab.workspace(folder, [p.name for p in paths], "video", extractor=name, weights="random")
            for name in ("slowfast_8x8_r50", *OTHERS)
        }
        baseline = Baseline("slowfast_8x8_r50")
        extractor = SlowFast8x8R50(weights="random")
        compare(
            "video: decode and cut windows, one 720p clip of 3.7 s",
            lambda: list(extractor.windows(Clip("clip", video=paths[0]))),
            lambda: baseline.decode(paths[0]),
        )
        counter = FlopCounterMode(display=False)
        with counter, torch.inference_mode():
            baseline.body(baseline.body.pathways(torch.zeros(1, 3, 32, 224, 224)))
        flop = float(counter.get_total_flops())
        say("video: GFLOP of one window (no baseline)", flop / 1e9, flop / 1e9, "GFLOP")
        for precision, compiled in (("fp32", False), ("auto", False), ("auto", True)):
            whole_road(spaces["slowfast_8x8_r50"], paths, baseline, flop, precision, compiled)
        for other in OTHERS:
            whole_road(spaces[other], paths, Baseline(other), 0.0, "auto", compiled=False)
        wide, narrow = SlowFast8x8R50(weights="random"), SlowFast8x8R50(weights="random")
        narrow.precision = "bf16"
        a, b = rows(paths[:3], wide), rows(paths[:3], narrow)
        cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        say("video: least cosine of bf16 features with fp32", float(cosine.min()), 1.0, "cosine")


if __name__ == "__main__":
    quieten()
    torch.set_num_threads(WORKERS)
    main()
