"""The golden vector of EfficientFace's frame trunk: a folder with `trunk.pt` and `expected.npz`.

The file holds the frames as they were fed (`frames_uint8_NHWC_as_fed`, divided by 255) and `features`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from affectstack import AffectstackError
from pipeline.references.distance import distance, read_arrays
from pipeline.references.figure import Figure

FILES = ("trunk.pt", "expected.npz")
_FRAMES = "frames_uint8_NHWC_as_fed"


def figures(folder: Path) -> Iterator[Figure]:
    """Yield how far the trunk is from its golden vector, as it is built and as it runs."""
    for way, quick in (("as it is", False), ("as it runs", True)):
        name = f"{folder.name}, {way}"
        try:
            yield _figure(name, folder, quick)
        except AffectstackError as error:
            yield distance(f"{name}: {error}", None, None)


def _figure(name: str, folder: Path, quick: bool) -> Figure:
    import torch

    from extractors.faces.efficientface_trunk import Trunk
    from extractors.filling import fill, unwrapped
    from extractors.folding import fold_batch_norms
    from extractors.weights import load_state_dict

    arrays = read_arrays(folder / "expected.npz", [_FRAMES, "features"])
    trunk = Trunk()
    fill(trunk, unwrapped(load_state_dict(folder / "trunk.pt")), f"{folder}: does not fit")
    trunk.eval()
    if quick:
        fold_batch_norms(trunk)
    with torch.no_grad():
        frames = np.ascontiguousarray(arrays[_FRAMES].transpose(0, 3, 1, 2)) / 255
        return distance(name, trunk(torch.from_numpy(frames)).numpy(), arrays["features"])
