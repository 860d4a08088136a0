"""Faces: finding them, and looking at them again."""

import os
import tempfile
from pathlib import Path

import av
import lab
import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image
from turns import compare, say

from extractors import Clip
from extractors.face_crops import FaceCrops
from extractors.faces.crops import decode
from extractors.faces.detector import Detection, Detector
from extractors.faces.finding import detect
from extractors.faces.settings import FaceSettings
from extractors.faces.tracks import overlap
from extractors.openface import AU_COLUMNS
from extractors.video import Shown, shown_frames
from pipeline.cli import quieten
from pipeline.engine.finish import publish_index
from pipeline.experiment import parse
from pipeline.synthesis import draw
from pipeline.workspace import Workspace

CLIPS, FRAMES, FPS, WORKERS = 8, 300, 30, 2
REAL = ("edge_videos/*.m*", "grid_av/GRID/*.mpg")


def film(path: Path, seed: int) -> Path:
    """Write 720p video of a drawn face of 300 pixels that moves over a picture with detail."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 90, (45, 80, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    units = rng.uniform(0, 2, (FRAMES, len(AU_COLUMNS)))
    faces = draw(units, skin=0.8, width=1.0, sound=np.zeros(16000, np.float32))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i, face in enumerate(faces):
            picture = scene.copy()
            large = np.asarray(Image.fromarray(face).resize((340, 340), Image.Resampling.BICUBIC))
            left = 100 + 2 * i
            picture[180:520, left : left + 340] = large
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def largest(boxes: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Return the largest of some boxes."""
    return None if boxes is None else max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))


def finding(title: str, paths: list[Path], smallest: float = FaceSettings.smallest) -> None:
    """Measure the detector on decoded frames, and say how far its boxes are from those of the baseline."""
    settings = FaceSettings(smallest=smallest)
    title = f"{title}, faces of {smallest:.0%} and more"
    frames = [shown for path in paths for shown in shown_frames(path, 1 / settings.fps)]
    detector, plain = Detector(settings.confidence), MTCNN(keep_all=True)
    sizes = sorted({shown.size for shown in frames})

    def ours() -> list[list[Detection]]:
        found: dict[int, list[Detection]] = {}
        for size in sizes:
            own = [i for i, shown in enumerate(frames) if shown.size == size]
            for first in range(0, len(own), 16):
                batch: list[Shown] = [frames[i] for i in own[first : first + 16]]
                found |= dict(zip(own[first : first + 16], detect(batch, detector, settings), strict=True))
        return [found[i] for i in range(len(frames))]

    def baseline() -> list[NDArray[np.float64] | None]:
        return [largest(plain.detect(shown.picture(), landmarks=True)[0]) for shown in frames]

    compare(f"faces: {title}, {len(frames)} frames, one thread", ours, baseline, rounds=3)
    shares, lost = [], 0
    for faces, box in zip(ours(), baseline(), strict=True):
        if box is not None and faces:
            shares.append(max(overlap(face.box, box.astype(np.float64)) for face in faces))
        lost += (box is None) != (not faces)
    say(f"faces: {title}, median overlap of boxes with the baseline's", float(np.median(shares)), 1.0, "IoU")
    say(
        f"faces: {title}, share of boxes that overlap by 0.8",
        float(np.mean(np.array(shares) >= 0.8)),
        1.0,
        "share",
    )
    say(f"faces: {title}, frames in which only one side finds a face", lost, len(frames), "frames")


def looking_again(folder: Path, paths: list[Path]) -> None:
    """Measure a second embedding: from stored faces, against finding them anew."""
    lab.workspace(folder, [p.name for p in paths], "video", extractor="fake")  # for its manifest
    network = {"modality": "face", "extractor": "efficientface", "weights": "random"}
    features = {
        "faces": {"modality": "face", "extractor": "faces"},
        "stored": {**network, "crops": "faces"},
        "anew": network,
    }
    space = Workspace(parse({"features": features}, "bench"), folder, folder / "experiment.yaml")
    first = lab.planned(space, feature="faces")
    with lab.engine(first, WORKERS) as engine:
        for made in engine.make({"faces": first.todo}):
            first.finished[made.shard] = made.record
    index = publish_index(first, space)
    found, store = FaceCrops(), index.open(space)
    compare(
        f"faces: those of {len(paths)} clips 720p of 10 s as pictures, stored against found anew",
        lambda: [decode(file) for key in store for file in store.with_pictures(key).pictures or () if file],
        lambda: [found.extract(Clip("c", video=path)) for path in paths],
        rounds=1,
    )
    stored, anew = lab.planned(space, feature="stored"), lab.planned(space, feature="anew")
    with lab.engine(stored, WORKERS) as one, lab.engine(anew, WORKERS) as other:
        for state in ("as it is", "compiled, as for a large corpus"):
            if state != "as it is":
                for plan in (stored, anew):
                    plan.extractor.speed_up(10**6)  # type: ignore[attr-defined]
            compare(
                f"faces: a second embedding of {len(paths)} clips 720p of 10 s, stored against found anew, "
                f"{state}",
                lambda: lab.run(one, stored),
                lambda: lab.run(other, anew),
                rounds=3,
            )


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [film(folder / f"clip{i}.mp4", i) for i in range(CLIPS)]
        torch.set_num_threads(1)  # as in a decode worker
        finding("drawn, 720p", paths[:2])
        if data := os.environ.get("AFFECTSTACK_DATA"):
            for pattern in REAL:
                finding(f"real, {pattern}", sorted(Path(data).glob(pattern)))
            finding(f"real, {REAL[-1]}", sorted(Path(data).glob(REAL[-1])), smallest=0.2)
        torch.set_num_threads(WORKERS)
        looking_again(folder, paths)


if __name__ == "__main__":
    quieten()
    main()
