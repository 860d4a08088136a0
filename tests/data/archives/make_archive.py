"""Write the archive of this format: `PYTHONPATH=. python tests/data/archives/make_archive.py`.

Run once per format version, it refuses to run again: the files of a version are never made anew.
"""

import json
from pathlib import Path

import numpy as np

from extractors import Features
from pipeline.store import ClipKey, Failure, shard_name, write_shard
from pipeline.store.layout import ENCODING_VERSION

HERE = Path(__file__).parent
FAILED = Failure("broken", "", "DecodeError", "no media: ü")


def clip(seed: int, rows: int, dim: int, *, silent: bool = False) -> Features:
    """Return features that every release makes the same."""
    rng = np.random.default_rng(seed)
    values = np.zeros((rows, dim), np.float32) if silent else rng.normal(size=(rows, dim)).astype(np.float32)
    edges = 0.25 + np.arange(rows + 1) / 3
    return Features(values, np.column_stack([edges[:-1], edges[1:]]), rng.random(rows) < 0.8, silent)


def stores() -> dict[str, list[tuple[dict[ClipKey, Features], list[Failure]]]]:
    """Return the shards of every store."""
    functionals = {(f"take-{i}", ""): clip(i, 1, 24, silent=i == 2) for i in range(6)}
    sequence = {("take-1", "left"): clip(10, 40, 16), ("take-1", "right"): clip(11, 25, 16)}
    return {
        "functionals": [(functionals, [FAILED])],
        "sequence": [(sequence, []), ({}, [FAILED]), ({("take_2.b", "left"): clip(12, 7, 16)}, [])],
    }


def main() -> None:
    """Write the shards, and what must be read from them."""
    folder = HERE / f"v{ENCODING_VERSION}"
    folder.mkdir()
    arrays, words = {}, {}
    for name, shards in stores().items():
        dim = 24 if name == "functionals" else 16
        names = [f"feature ü {i}" for i in range(dim)]
        identity = {"extractor": name, "layer": 3, "hop": 1 / 3}
        words[name] = {"feature_names": names, "identity": identity, "clips": []}
        for number, (clips, failures) in enumerate(shards):
            write_shard(
                folder / name / shard_name(number),
                list(clips.items()),
                identity,
                names,
                planned_sha256="0" * 64,
                failures=failures,
                seen_subjects=["s1"],
            )
            for (clip_id, view), found in clips.items():
                words[name]["clips"].append([clip_id, view])
                for part in ("values", "intervals", "valid"):
                    arrays[f"{name}/{clip_id}/{view}/{part}"] = getattr(found, part)
    np.savez_compressed(folder / "expected.npz", **arrays)
    (folder / "expected.json").write_text(json.dumps(words, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
