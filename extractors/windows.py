"""Cutting a stream of frames into windows, wherever they lie, while holding only what windows still need."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from extractors.video import Frame

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shape:
    """What a window is made of, counted in steps of the time grid.

    Attributes:
        frames: How many frames it has.
        spacing: Steps from one of its frames to the next.
        channels: Steps between the three grey frames that become the channels of one (2.5D); 0 for colours.
    """

    frames: int
    spacing: int
    channels: int = 0

    @property
    def span(self) -> int:
        """Steps that a window covers."""
        return self.frames * self.spacing

    @property
    def reach(self) -> int:
        """Steps from its first frame to its last one."""
        return (self.frames - 1) * self.spacing


@dataclass(frozen=True)
class Piece:
    """A window that was cut out.

    Attributes:
        start: Where it begins, in steps from the first frame; before it if negative.
        pictures: `[T, H, W, 3]` uint8.
        real: How many of its frames exist; the others repeat the first or the last one.
    """

    start: int
    pictures: Picture
    real: int


class Places(Protocol):
    """Where windows begin."""

    def start(self, number: int) -> int | None:
        """Return where a window begins, in steps from the first frame; None if there is no such window."""

    def fits(self, number: int, start: int, total: int) -> bool:
        """Tell whether a clip of so many frames has that window."""


@dataclass(frozen=True)
class Sliding:
    """Windows from the first frame on, those that fit; a shorter clip has one."""

    shape: Shape
    stride: int

    def start(self, number: int) -> int:
        """See `Places`."""
        return number * self.stride

    def fits(self, number: int, start: int, total: int) -> bool:
        """See `Places`."""
        return number == 0 or start + self.shape.reach < total


@dataclass(frozen=True)
class Centred:
    """One window around a frame at equal steps, which is the middle one of its frames."""

    shape: Shape
    stride: int

    def start(self, number: int) -> int:
        """See `Places`."""
        return number * self.stride - self.shape.frames // 2 * self.shape.spacing

    def fits(self, number: int, start: int, total: int) -> bool:
        """See `Places`."""
        return number * self.stride < total


@dataclass(frozen=True)
class Spread:
    """One window in each of some equal parts of a clip whose length is known.

    Attributes:
        shape: Of the windows.
        parts: How many.
        at: "start" begins with the part, "centre" lies around its middle.
        total: Frames of the clip.
    """

    shape: Shape
    parts: int
    at: Literal["start", "centre"]
    total: int

    def start(self, number: int) -> int | None:
        """See `Places`."""
        if number >= self.parts:
            return None
        shift, back = (0.0, 0.0) if self.at == "start" else (0.5, self.shape.span / 2)
        wanted = math.floor((number + shift) * self.total / self.parts - back)
        return max(0, min(wanted, self.total - self.shape.span))

    def fits(self, number: int, start: int, total: int) -> bool:
        """See `Places`."""
        return True


def cut(frames: Iterator[Frame], shape: Shape, places: Places) -> Iterator[Piece]:
    """Cut windows out of frames on a time grid.

    Args:
        frames: One per step.
        shape: Of the windows.
        places: Where they begin, in rising order.
    """
    held: dict[int, Picture] = {}
    seen, ended = 0, False
    for number in count():
        start = places.start(number)
        if start is None:
            return
        while not ended and seen <= max(0, start + shape.reach + 2 * shape.channels):
            frame = next(frames, None)
            if frame is None:
                ended = True
            else:
                held[seen] = grey(frame.image) if shape.channels else frame.image
                seen += 1
        if not seen or (ended and not places.fits(number, start, seen)):
            return
        yield _piece(held, shape, start, seen)
        for place in [p for p in held if p < min(start, seen - 1)]:
            del held[place]


def _piece(held: dict[int, Picture], shape: Shape, start: int, seen: int) -> Piece:
    wanted = [start + i * shape.spacing for i in range(shape.frames)]

    def at(place: int) -> Picture:
        return held[min(max(place, 0), seen - 1)]

    if shape.channels:
        pictures = np.stack(
            [np.stack([at(max(p, 0) + c * shape.channels) for c in range(3)], axis=-1) for p in wanted]
        )
    else:
        pictures = np.stack([at(p) for p in wanted])
    return Piece(start, pictures, sum(0 <= p < seen for p in wanted))


def grey(image: Picture) -> Picture:
    """Return the luma of a picture (ITU-R BT.601), rounded."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(image @ weights).astype(np.uint8)
