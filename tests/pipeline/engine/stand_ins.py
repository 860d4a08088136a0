"""Extractors that the engine's tests define; decode workers import this module, so it imports little."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from extractors import Clip, Extractor, Features
from extractors.contract import FloatArray, TooShortError, Window, WindowExtractor


def row(*values: float) -> Features:
    """Return features of one row."""
    return Features(np.array([values], np.float32), np.array([[0.0, 1.0]]), np.array([True]))


class Doer(Extractor):
    """Does something with a clip, and returns one row.

    Args:
        does: Given the clip; a function of a module, so that it travels. Its answer is the row's only value.
        state: For whoever wants to know.
    """

    modality = "video"

    def __init__(self, does: Callable[[Clip], float | None], **state: Any) -> None:
        self.does = does
        self.__dict__.update(state)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return ("x",)

    def identity(self) -> dict[str, Any]:
        return {}

    def extract(self, clip: Clip) -> Features:
        return row(self.does(clip) or 0.0)


class Pictured(Doer):
    """Gives a picture of two bytes with its row."""

    def __init__(self) -> None:
        super().__init__(lambda clip: 1.0)

    reads_media = False

    def extract(self, clip: Clip) -> Features:
        return replace(super().extract(clip), pictures=(b"ab",))


def bytes_stored(clip: Clip) -> float:
    return -1.0 if clip.stored is None else float(sum(map(len, clip.stored.pictures or ())))


def slow_first(clip: Clip) -> float:
    time.sleep(1.0 if clip.clip_id == "c0" else 0.0)
    return time.monotonic()  # one clock for all processes of a machine


def slow_and_silent(_: Clip) -> float:
    time.sleep(5.0)
    return 0.0


def slow_but_alive(clip: Clip) -> float:
    for _ in range(10):
        time.sleep(0.5)
        clip.still_alive()
    return 0.0


def leave(clip: Clip) -> float:
    if clip.clip_id == "c0":
        os._exit(7)
    return 0.0


def len_of_id(clip: Clip) -> float:
    return len(clip.clip_id)


def threads(_: Clip) -> float:
    return sum(float(os.environ[f"{name}_NUM_THREADS"]) for name in ("OMP", "OPENBLAS", "MKL"))


class SlowToStart(Doer):
    """Takes its time to arrive in another process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        time.sleep(1.5)


class Stand(WindowExtractor):
    """A network of numbers: every window is full of its own number, and gives the row `[number, clip]`.

    Args:
        windows: How many every clip has.
        size: Elements of one window.
        trace: A file that gets a byte per window made.
        look_ahead: See `WindowExtractor`.
        seconds: Of a window.
        breaks: Ids of clips that fail in the middle.
    """

    modality = "video"
    card_allows = True

    def __init__(
        self,
        windows: int = 3,
        size: int = 4,
        trace: str = "",
        look_ahead: int = 1,
        seconds: float = 1.0,
        breaks: Sequence[str] = (),
    ) -> None:
        self.count = windows
        self.size = size
        self.trace = trace
        self.look_ahead = look_ahead
        self.seconds = seconds
        self.breaks = frozenset(breaks)
        self.embedded: list[list[float]] = []
        self.prepared = 0

    @property
    def feature_names(self) -> tuple[str, ...]:
        return ("number", "clip")

    @property
    def allows_bf16(self) -> bool:
        return self.card_allows

    def identity(self) -> dict[str, Any]:
        return {"windows": self.count, "precision": self.precision}

    def prepare(self) -> None:
        self.prepared += 1

    def windows(self, clip: Clip) -> Iterator[Window]:
        for i in range(self.count):
            if clip.clip_id in self.breaks and i == 1:
                raise TooShortError("breaks in the middle")
            if self.trace:
                with Path(self.trace).open("ab") as file:
                    file.write(b".")
            yield Window(self.window(clip, i), i * self.seconds, (i + 1) * self.seconds)

    def window(self, clip: Clip, i: int) -> "np.ndarray[Any, Any]":
        """Return the data of a window: its number, and a number of its clip."""
        data = np.full(self.size, i, np.float32)
        data[1] = int("0" + "".join(c for c in clip.clip_id if c.isdigit()))
        return data

    def batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        step = self.look_ahead
        return (list(range(first, min(first + step, len(windows)))) for first in range(0, len(windows), step))

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        self.embedded.append([float(w.data[1] * 100 + w.data[0]) for w in windows])
        return [np.array([[w.data[0], w.data[1]]], np.float32) for w in windows]


class Noisy(Stand):
    """Other values every time."""

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        return [np.random.default_rng().normal(size=(1, 2)).astype(np.float32) for _ in windows]
