"""The feature store against one .npy file per clip: writing, one clip at random, all of it, and resuming."""

import json
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import lab
import numpy as np
import pandas as pd
from turns import compare

from extractors import Features
from pipeline.engine.finish import publish_index
from pipeline.engine.plan import Takes, make_plan
from pipeline.experiment import parse
from pipeline.store import Block, FeatureStore, Verified, shard_name, write_shard
from pipeline.workspace import Workspace

# Rows and columns of a clip, clips, clips per shard.
SHAPES = {
    "functionals [1, 88]": (1, 88, 10_000, 1024),
    "action units [110, 35]": (110, 35, 10_000, 1024),
    "wav2vec2 frames [185, 1024]": (185, 1024, 10_000, 32),
}
READS = 2_000
HELD = 2 << 30


def reading(title: str, rows: int, columns: int, clips: int, per_shard: int, folder: Path) -> None:
    """Measure reading; both sides read from the page cache as far as it holds them."""
    values = np.random.default_rng(0).normal(size=(64, rows, columns)).astype(np.float32)
    times, valid = np.zeros((rows, 2)), np.ones(rows, dtype=bool)
    store, files = folder / "store", folder / "npy"
    files.mkdir()
    for i in range(clips):
        np.save(files / f"{i}.npy", values[i % 64])
    verified = Verified(store)
    names = [f"f{i}" for i in range(columns)]
    for shard, first in enumerate(range(0, clips, per_shard)):
        part = range(first, min(first + per_shard, clips))
        found = [((str(i), ""), Features(values[i % 64], times, valid)) for i in part]
        path = store / shard_name(shard)
        verified.seal(path, write_shard(path, found, {"extractor": "bench"}, names, planned_sha256=""))
    verified.save()
    order = np.random.default_rng(1).permutation(clips)
    some = order[:READS].tolist()
    opened = FeatureStore(store)

    def ours_random() -> float:
        return sum(float(opened[(str(i), "")].values[0, 0]) for i in some)

    def npy_random() -> float:
        return sum(float(np.load(files / f"{i}.npy")[0, 0]) for i in some)

    compare(f"store: one clip at random, {title}, {clips} clips", ours_random, npy_random)

    def cold() -> None:
        with_new = FeatureStore(store)
        _ = with_new[(str(some[0]), "")]

    compare(f"store: open it and read one clip, {title}", cold, lambda: np.load(files / f"{some[0]}.npy"))
    # All of it in memory, as heads want it; of the largest a part, so that both sides stay in the page cache.
    shards = min(-(-clips // per_shard), HELD // (per_shard * values[0].nbytes))
    part = min(clips, shards * per_shard)

    def held() -> list[Block]:
        return list(islice(FeatureStore(store).blocks(), shards))

    def loaded() -> list[object]:
        return [np.load(files / f"{i}.npy") for i in range(part)]

    compare(f"store: load all for training, {title}, {part} clips", held, loaded)

    def passing() -> int:
        return sum(len(block) for block in FeatureStore(store).blocks())

    def passed() -> int:
        return sum(len(np.load(files / f"{i}.npy")) for i in range(clips))

    compare(f"store: pass through all, {title}, {clips} clips", passing, passed, rounds=3)
    opened.close()


def resuming(folder: Path, clips: int = 100_000) -> None:
    """Ours: plan a finished feature. Baseline: only read its records and look at its shards' sizes."""
    ids = [f"clip-{i:06d}" for i in range(clips)]
    frame = {"clip_id": ids, "subject": [f"s{i % 50}" for i in range(clips)], "emotion": "a"}
    pd.DataFrame(frame).to_csv(folder / "manifest.csv", index=False)
    document = {"features": {"x": {"modality": "video", "extractor": "fake"}}}
    space = Workspace(parse(document, "bench"), folder, folder / "experiment.yaml")
    manifest = space.manifest()
    plan = make_plan(space, manifest, Takes(manifest, space.root), "x")
    with lab.engine(plan, 1) as engine:
        for made in engine.make({"x": plan.todo}):
            plan.finished[made.shard] = made.record
            plan.verified.seal(plan.tasks[made.shard].path, made.record)
    publish_index(plan, space)

    def ours() -> int:
        again = make_plan(space, manifest, Takes(manifest, space.root), "x")
        if again.todo:
            raise RuntimeError("the store should be finished")
        return again.clips_done

    def baseline() -> int:
        return sum(_clips(sorted(plan.folder.glob("shard-*.json"))))

    compare(f"store: resume scan of {clips} finished clips", ours, baseline)


def _clips(records: Sequence[Path]) -> list[int]:
    found = []
    for path in records:
        path.with_suffix(".h5").stat()
        found.append(len(json.loads(path.read_text())["ids"]))
    return found


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        resuming(Path(name))
    for title, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as name:
            reading(title, *shape, Path(name))


if __name__ == "__main__":
    main()
