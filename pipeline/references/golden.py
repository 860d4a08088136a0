"""Golden vectors: a network's features as its own authors' code made them, in folders like `slowfast_tiny`.

A folder of a clip network holds `config.yaml`, `checkpoint.pyth` and `expected.npz` with what it was fed with
(`input0`, for two pathways `input1`) and its `features`.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.networks.config import ConfigFileError, read_config
from extractors.weights import Weights, WeightsError
from pipeline.references.figure import Figure

_TOLERANCE = 1e-4  # of the largest value
_FILES = ("config.yaml", "checkpoint.pyth", "expected.npz")


def figures(data: Path, workers: int) -> Iterator[Figure | str]:
    """Yield how far each network is from its golden vector, for every folder in `data/golden`.

    Raises:
        AffectstackError: If there is none.
    """
    place = data / "golden"
    folders = sorted(f for f in place.iterdir() if f.is_dir()) if place.is_dir() else []
    if not folders:
        raise AffectstackError(f"no folders in {place}; expected one per network, with {', '.join(_FILES)}")
    for folder in folders:
        if missing := [name for name in _FILES if not (folder / name).is_file()]:
            yield f"{folder.name}: not of a clip network (no {', '.join(missing)}); left out"
            continue
        for way, found in (("as it is", False), ("as it runs", True)):
            yield _figure(folder, way, found)


def _figure(folder: Path, way: str, quick: bool) -> Figure | str:
    name = f"{folder.name}, {way}"
    try:
        inputs, expected = _expected(folder / "expected.npz")
        found = _features(folder, inputs, quick)
    except (WeightsError, ConfigFileError, AffectstackError) as error:
        return Figure(f"{name}: {error}", float("nan"), 0.0, _TOLERANCE)
    if found.shape != expected.shape:
        return Figure(f"{name}: {found.shape} values of {expected.shape}", float("nan"), 0.0, _TOLERANCE)
    largest = max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
    return Figure(name, float(np.abs(found - expected).max()) / largest, 0.0, _TOLERANCE)


def _expected(path: Path) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = sorted(n for n in file.files if n.startswith("input"))
            arrays = [np.asarray(file[n], dtype=np.float32) for n in names]
            return arrays, np.asarray(file["features"], dtype=np.float32)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise AffectstackError(f"{path}: no arrays input0, features in it ({error})") from error


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
