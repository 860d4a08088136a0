"""A fake extractor: the whole road in seconds, with no weights and no media."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from extractors.contract import Clip, DecodeError, Extractor, Features
from extractors.registry import EXTRACTORS


@EXTRACTORS.register("fake")
class Fake(Extractor):
    """Numbers drawn from the clip's id. They mean nothing, and every output that uses them says so.

    Args:
        modality: The `extract` command that runs it.
        dim: Columns.
        rows: Rows per clip.
        fault: What goes wrong on clips whose id is in `on`: an error, NaN, or the wrong shape.
        on: The ids of those clips.
        seed: Changes every number.
        trained_on: Subjects that it pretends to have seen.
    """

    modality = "video"
    reads_media = False
    untrained = True

    def __init__(
        self,
        modality: Literal["video", "audio", "au", "face", "text"] = "video",
        dim: int = 8,
        rows: int = 3,
        fault: Literal["none", "error", "nan", "shape"] = "none",
        on: Sequence[str] = (),
        seed: int = 0,
        trained_on: Sequence[str] = (),
    ) -> None:
        self.modality = modality  # type: ignore[misc]  # it stands in for any extractor
        self._dim = dim
        self.rows = rows
        self.fault = fault
        self.on = frozenset(on)
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
        if clip.clip_id in self.on:
            if self.fault == "error":
                raise DecodeError("a fault was asked for")
            if self.fault == "nan":
                values[0, 0] = np.nan
            if self.fault == "shape":
                values = values[:, :-1]
        edges = np.arange(self.rows + 1, dtype=np.float64)
        return Features(values, np.column_stack([edges[:-1], edges[1:]]), np.ones(self.rows, dtype=np.bool_))
