"""Cutting a face out of a picture, and keeping it as a JPEG file."""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from extractors.contract import DecodeError
from extractors.faces.detector import Detection
from extractors.faces.settings import MOST_PIXELS

# Where eyes, nose and corners of the mouth lie in a face of side 1: the mean face of 112 pixels of Deng et
# al. 2019 (ArcFace).
_MEAN_FACE = (
    np.array(
        [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    )
    / 112
)
_SIDES = (0.0, 1.0)


@dataclass(frozen=True)
class Place:
    """A square in a picture, which may be turned.

    Attributes:
        corner: Its top left corner, as x + iy in pixels.
        along: From there to the top right corner.
    """

    corner: complex
    along: complex

    def at(self, x: float, y: float) -> complex:
        """Return the place of a point of the unit square."""
        return self.corner + self.along * complex(x, y)


def place_of(face: Detection, margin: float, align: bool) -> Place:
    """Return the square that is cut out for a face.

    Args:
        face: The face.
        margin: What is kept around it, as a share of its size.
        align: Fit the mean face to its five points (least squares over shift, turn and scale) rather than
            a square to its box.
    """
    if align:
        corner, along = _similarity(_MEAN_FACE @ [1, 1j], face.points @ [1, 1j])
    else:
        side = float(max(face.box[2:] - face.box[:2]))
        corner = complex(*(face.box[:2] + face.box[2:])) / 2 - complex(side, side) / 2
        along = complex(side, 0)
    whole = Place(corner, along)
    return Place(whole.at(-margin, -margin), along * (1 + 2 * margin))


def cut_out(picture: NDArray[np.uint8], place: Place, size: int) -> Image.Image:
    """Return a square of a picture; what lies outside of the picture repeats its edge.

    Args:
        picture: `[H, W, 3]` uint8.
        place: The square.
        size: Pixels of a side of the result.
    """
    corners = np.array([place.at(x, y) for y in _SIDES for x in _SIDES])
    # A bilinear look-up skips pixels of a picture that is much larger; so it is made smaller first.
    shrink = max(1, math.floor(abs(place.along) / size))
    low = np.floor([corners.real.min(), corners.imag.min()]).astype(int) - shrink
    high = np.ceil([corners.real.max(), corners.imag.max()]).astype(int) + shrink
    region = _with_edges(picture, low, high)
    piece = Image.fromarray(region)
    if shrink > 1:
        piece = piece.reduce(shrink)
    corner, along = (place.corner - complex(*low)) / shrink, place.along / shrink / size
    matrix = (along.real, -along.imag, corner.real, along.imag, along.real, corner.imag)
    return piece.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def encode(image: Image.Image, quality: int) -> bytes:
    """Return a JPEG file, its colours at full resolution."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def decode(file: bytes) -> NDArray[np.uint8]:
    """Return `[size, size, 3]` uint8 RGB of a JPEG file.

    Raises:
        DecodeError: If it is none, or no square that was cut out.
    """
    try:
        with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
            if image.width != image.height or image.width > MOST_PIXELS:
                raise DecodeError(f"a stored picture has {image.width} x {image.height} pixels")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DecodeError(f"a stored picture is no readable JPEG file ({error})") from error


def _similarity(source: NDArray[Any], target: NDArray[Any]) -> tuple[complex, complex]:
    """Return b and a for which `a * source + b` is nearest to the target, by least squares."""
    middle, aim = source.mean(), target.mean()
    a = np.vdot(source - middle, target - aim) / np.vdot(source - middle, source - middle)
    return complex(aim - a * middle), complex(a)


def _with_edges(
    picture: NDArray[np.uint8], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the pixels from `low` to `high` (x, y); where there are none, the nearest ones."""
    columns = np.clip(np.arange(low[0], high[0]), 0, picture.shape[1] - 1)
    rows = np.clip(np.arange(low[1], high[1]), 0, picture.shape[0] - 1)
    inside = low.min() >= 0 and high[0] <= picture.shape[1] and high[1] <= picture.shape[0]
    if inside:
        return np.ascontiguousarray(picture[low[1] : high[1], low[0] : high[0]])
    return np.ascontiguousarray(picture[rows[:, None], columns])
