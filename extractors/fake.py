"""A fake extractor: the whole road in seconds, with no weights and no media."""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from affectstack import AffectstackError
from extractors.contract import Clip, DecodeError, Extractor, Features
from extractors.registry import EXTRACTORS

Fault = Literal["none", "error", "nan", "shape", "type", "empty", "noise", "bug", "memory", "hang", "crash"]


@EXTRACTORS.register("fake")
class Fake(Extractor):
    """Numbers drawn from the clip's id. They mean nothing, and every output that uses them says so.

    Args:
        modality: The `extract` command that runs it.
        dim: Columns.
        rows: Rows per clip.
        fault: What goes wrong on clips whose id is in `on`: an error, NaN, the wrong shape or type, no rows,
            other numbers every time, a bug, memory without end, a process that never ends or that dies.
        on: The ids of those clips.
        worker: Run in a decode worker, as extractors that read media do.
        seconds: How long a clip takes.
        shard: Clips per shard.
        seed: Changes every number.
        trained_on: Subjects that it pretends to have seen.
    """

    modality = "video"
    reads_media = False
    looks_up = "the clip's id"
    untrained = True

    def __init__(
        self,
        modality: Literal["video", "audio", "au", "face", "text"] = "video",
        dim: int = 8,
        rows: int = 3,
        fault: Fault = "none",
        on: Sequence[str] = (),
        worker: bool = False,
        seconds: float = 0.0,
        shard: int = 1024,
        seed: int = 0,
        trained_on: Sequence[str] = (),
    ) -> None:
        if shard < 1:
            raise AffectstackError(f"fake: shard {shard}; expected at least 1 clip")
        self.modality = modality  # type: ignore[misc]  # it stands in for any extractor
        self._dim = dim
        self.rows = rows
        self.fault = fault
        self.on = frozenset(on)
        self.reads_media = worker
        self.seconds = seconds
        self.clips_per_shard = shard
        self.seed = seed
        self.trained_on = frozenset(trained_on)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`fake0` …."""
        return tuple(f"fake{i}" for i in range(self._dim))

    def identity(self) -> dict[str, Any]:
        """Everything but the faults."""
        return {"fake": True, "dim": self._dim, "rows": self.rows, "seed": self.seed}

    def extract(self, clip: Clip) -> Features:
        """Return `[rows, dim]` normal numbers, or fail as told."""
        digest = hashlib.sha256(f"{self.seed}:{clip.clip_id}:{clip.view}".encode()).digest()
        values = np.random.default_rng(list(digest)).normal(size=(self.rows, self._dim)).astype(np.float32)
        edges = np.arange(self.rows + 1, dtype=np.float64)
        good = Features(values, np.column_stack([edges[:-1], edges[1:]]), np.ones(self.rows, dtype=np.bool_))
        time.sleep(self.seconds)
        return _FAULTS[self.fault](good) if clip.clip_id in self.on else good


def _error(_: Features) -> Features:
    raise DecodeError("a fault was asked for")


def _nan(features: Features) -> Features:
    features.values[0, 0] = np.nan
    return features


def _bug(_: Features) -> Features:
    raise KeyError("a bug was asked for")


def _memory(features: Features) -> Features:
    return replace(features, values=np.ones((1 << 40, 1), np.float32))


def _hang(_: Features) -> Features:
    while True:
        time.sleep(1)


def _crash(_: Features) -> Features:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


_FAULTS: dict[Fault, Callable[[Features], Features]] = {
    "none": lambda f: f,
    "error": _error,
    "nan": _nan,
    "shape": lambda f: replace(f, values=f.values[:, :-1]),
    "type": lambda f: replace(f, values=f.values.astype(np.float64)),
    "empty": lambda f: Features(f.values[:0], f.intervals[:0], f.valid[:0]),
    "noise": lambda f: replace(
        f, values=np.random.default_rng().normal(size=f.values.shape).astype(np.float32)
    ),
    "bug": _bug,
    "memory": _memory,
    "hang": _hang,
    "crash": _crash,
}
