"""Golden vectors of clip networks: what PySlowFast's own code gives.

A folder holds `config.yaml`, `checkpoint.pyth` and `expected.npz` with what the network was fed with
(`input0`, for two pathways `input1`) and its `features`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.networks.config import ConfigFileError, read_config
from extractors.weights import Weights, WeightsError
from pipeline.references.distance import distance, read_arrays
from pipeline.references.figure import Figure

FILES = ("config.yaml", "checkpoint.pyth", "expected.npz")


def figures(folder: Path) -> Iterator[Figure]:
    """Yield how far a network is from its golden vector, as it is built and as it runs."""
    for way, quick in (("as it is", False), ("as it runs", True)):
        name = f"{folder.name}, {way}"
        try:
            arrays = read_arrays(folder / "expected.npz", ["input0", "features"])
            inputs = [arrays[n] for n in sorted(arrays) if n.startswith("input")]
            yield distance(name, _features(folder, inputs, quick), arrays["features"])
        except (WeightsError, ConfigFileError, AffectstackError) as error:
            yield distance(f"{name}: {error}", None, None)


def _features(folder: Path, inputs: list[NDArray[np.float32]], quick: bool) -> NDArray[np.float32]:
    import torch

    from extractors.networks.loading import build

    body = build(read_config(folder / "config.yaml"), Weights(path=folder / "checkpoint.pyth"), 0)
    with torch.no_grad():
        if quick:
            body.quicken(torch.device("cpu"))
            body = body.to(memory_format=torch.channels_last_3d)
        pathways = [torch.from_numpy(array) for array in inputs]
        values: NDArray[np.float32] = body.pool(body(pathways)).numpy()
        return values
