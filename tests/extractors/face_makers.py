"""Drawn faces that the real detector finds, and clips of them."""

from collections.abc import Sequence
from pathlib import Path

import clip_makers
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Face = tuple[float, float, float]  # x and y of its middle, and its width, in pixels
_FINER = 4


def draw(
    *faces: Face,
    size: tuple[int, int] = (320, 240),
    turn: float = 0.0,
    skin: tuple[int, int, int] = (224, 180, 150),
) -> NDArray[np.uint8]:
    """Return a picture of some faces, turned by some degrees to the left."""
    picture = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), (90, 110, 140))
    for x, y, width in faces:
        layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
        _draw(ImageDraw.Draw(layer), x * _FINER, y * _FINER, width * _FINER, skin)
        if turn:
            layer = layer.rotate(turn, center=(x * _FINER, y * _FINER), resample=Image.Resampling.BICUBIC)
        picture.paste(layer, (0, 0), layer)
    return np.asarray(picture.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.8)))


def _draw(pen: ImageDraw.ImageDraw, x: float, y: float, s: float, skin: tuple[int, int, int]) -> None:
    def oval(dx: float, dy: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        left, top = x + (dx - width / 2) * s, y + (dy - height / 2) * s
        pen.ellipse((left, top, left + width * s, top + height * s), fill=colour)

    oval(0, -0.1, 1.0, 1.25, (60, 40, 30))
    oval(0, 0.02, 0.86, 1.12, skin)
    for side in (-1, 1):
        oval(side * 0.19, -0.12, 0.2, 0.1, (250, 250, 250))
        oval(side * 0.19, -0.12, 0.09, 0.1, (50, 35, 25))
        middle = x + side * 0.19 * s
        pen.rectangle((middle - 0.12 * s, y - 0.24 * s, middle + 0.12 * s, y - 0.205 * s), fill=(70, 45, 30))
    nose = [(x, y - 0.1 * s), (x - 0.08 * s, y + 0.13 * s), (x + 0.08 * s, y + 0.13 * s)]
    pen.polygon(nose, fill=(205, 158, 128))
    oval(-0.035, 0.13, 0.05, 0.03, (120, 80, 60))
    oval(0.035, 0.13, 0.05, 0.03, (120, 80, 60))
    oval(0, 0.3, 0.32, 0.1, (170, 80, 80))
    pen.line((x - 0.15 * s, y + 0.3 * s, x + 0.15 * s, y + 0.3 * s), fill=(110, 50, 50), width=int(0.015 * s))


def film(path: Path, *scenes: Sequence[Face], fps: int = 5, **options: object) -> Path:
    """Write a clip with one frame per scene."""
    pictures = [draw(*faces) for faces in scenes]
    return clip_makers.write_clip(path, pictures, fps=fps, **options)  # type: ignore[arg-type]
