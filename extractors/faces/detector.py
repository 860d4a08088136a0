"""Finding the faces in pictures, by MTCNN (Zhang et al. 2016) of facenet-pytorch."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.weights import WeightsError, card, sha256

_PARTS = ("pnet.pt", "rnet.pt", "onet.pt")


@dataclass(frozen=True)
class Detection:
    """A face that was found in a picture.

    Attributes:
        box: `[4]`, left, top, right and bottom in pixels; it may reach out of the picture.
        confidence: In 0..1.
        points: `[5, 2]`, the left and right eye as seen, the nose, and the left and right corner of the
            mouth, in pixels.
    """

    box: NDArray[np.float64]
    confidence: float
    points: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    def scaled(self, x: float, y: float) -> "Detection":
        """Return the face in a picture that is so many times as wide and as high."""
        return Detection(self.box * [x, y, x, y], self.confidence, self.points * [x, y])


class Detector:
    """MTCNN with the weights that come with facenet-pytorch.

    Args:
        confidence: What it must be sure of a face with.

    Raises:
        WeightsError: If facenet-pytorch is not there.
    """

    def __init__(self, confidence: float) -> None:
        _weights()
        from facenet_pytorch import MTCNN

        self.confidence = confidence
        self._network: Any = MTCNN(keep_all=True)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], smallest: float) -> list[list[Detection]]:
        """Return the faces of pictures of one size, the largest first.

        Args:
            pictures: `[H, W, 3]` uint8 RGB each.
            smallest: Pixels of the smallest face wanted, at least 20.
        """
        height, width = pictures[0].shape[:2]
        if min(height, width) < smallest:
            return [[] for _ in pictures]
        self._network.min_face_size = smallest
        boxes, sure, points = self._network.detect(np.stack(pictures), landmarks=True)
        return [self._faces(*found) for found in zip(boxes, sure, points, strict=True)]

    def _faces(self, boxes: Any, sure: Any, points: Any) -> list[Detection]:
        if boxes is None:
            return []
        found = [
            Detection(np.asarray(box, np.float64), float(p), np.asarray(five, np.float64))
            for box, p, five in zip(boxes, sure, points, strict=True)
            if p >= self.confidence
        ]
        real = [f for f in found if np.isfinite(f.box).all() and np.isfinite(f.points).all() and f.area > 0]
        return sorted(real, key=lambda face: -face.area)


def detector_sha256() -> str:
    """Return the fingerprint of the detector's weights.

    Raises:
        WeightsError: If facenet-pytorch is not there.
    """
    return hashlib.sha256("".join(sha256(path) for path in _weights()).encode()).hexdigest()


def working_side(smallest: float, working_face: int, width: int, height: int) -> tuple[int, float]:
    """Return the shorter side of the picture that the detector sees, and pixels of the smallest face in it.

    Args:
        smallest: The smallest face wanted, as a share of the shorter side.
        working_face: How many pixels it is to have.
        width: Of the whole picture.
        height: Of the whole picture.
    """
    side = min(math.ceil(working_face / smallest), width, height)
    return side, max(20.0, smallest * side)


def _weights() -> list[Path]:
    found = find_spec("facenet_pytorch")
    folder = None if found is None or found.origin is None else Path(found.origin).parent / "data"
    if folder is None or not all((folder / part).is_file() for part in _PARTS):
        own = card("mtcnn")
        raise WeightsError(f"weights of {own.title} are missing. {own.note}")
    return [folder / part for part in _PARTS]
