"""The feature store against one .npy file per clip: 2,000 clips, loaded whole as training does."""

import tempfile
from pathlib import Path

import numpy as np
from turns import compare

from extractors import Features
from pipeline.store import identity_sha256, read_shard, write_shard

CLIPS, PER_SHARD = 2000, 32
SHAPES = {"functionals [1, 88]": (1, 88), "action units [110, 35]": (110, 35)}


def main() -> None:
    """Measure every shape."""
    identity = {"extractor": "bench"}
    fingerprint = identity_sha256(identity)
    for name, (rows, columns) in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            values = np.random.default_rng(0).normal(size=(CLIPS, rows, columns)).astype(np.float32)
            times = np.zeros((rows, 2))
            valid = np.ones(rows, dtype=bool)
            for i in range(CLIPS):
                np.save(Path(folder, f"{i}.npy"), values[i])
            shards = []
            names = [f"f{i}" for i in range(columns)]
            for first in range(0, CLIPS, PER_SHARD):
                part = range(first, min(first + PER_SHARD, CLIPS))
                path = Path(folder, f"shard-{first:05d}.h5")
                clips = [((str(i), ""), Features(values[i], times, valid)) for i in part]
                write_shard(path, clips, identity, names, planned_sha256="")
                shards.append(path)

            def ours(shards: list[Path] = shards) -> int:
                return sum(len(f.values) for s in shards for _, f in read_shard(s, fingerprint))

            def baseline(folder: str = folder) -> int:
                return sum(len(np.load(Path(folder, f"{i}.npy"))) for i in range(CLIPS))

            compare(f"load 2,000 clips, {name}", ours, baseline)


if __name__ == "__main__":
    main()
