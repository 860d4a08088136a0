"""Heads on a `BranchedNetwork`: a clip's arrays, each through a branch of its own."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifiers.arrays import Scaler, check_array, fit_scaler, scaled
from classifiers.contract import HeadError
from classifiers.network_head import ClassTargets, NetworkHead

if TYPE_CHECKING:  # PyTorch takes two seconds to import, which most heads do not need
    from classifiers.branch_training import Clip
    from classifiers.branches import BranchedNetwork


class BranchedHead(NetworkHead):
    """A `BranchedNetwork`, trained with class weights, stopped by held-out subjects.

    They are watched by the unweighted average recall, and where that stays the same by the posteriors of the
    right classes.
    """

    lr: float
    max_epochs: int
    patience: int
    network_: "BranchedNetwork"

    @abstractmethod
    def _network(self, widths: Sequence[int], classes: int) -> "BranchedNetwork":
        """Return an untrained network for arrays of these widths."""

    @abstractmethod
    def _sizes(self) -> Sequence[int]:
        """Return the sizes of all layers, which must be 1 or more."""

    def _train(
        self, clips: Sequence["Clip"], y: ClassTargets, fit: NDArray[np.int64], held: NDArray[np.int64]
    ) -> int:
        from classifiers.branch_training import train

        return train(
            self.network_,
            clips,
            y.index,
            fit,
            held,
            seed=self.seed,
            lr=self.lr,
            batch=self.batch,
            max_epochs=self.max_epochs,
            patience=self.patience,
        )

    def _ask(self, clips: Sequence["Clip"]) -> NDArray[np.float64]:
        from classifiers.branch_training import posteriors

        return posteriors(self.network_, clips, self.batch)

    @classmethod
    def _widths(cls, clips: Sequence["Clip"]) -> list[int]:
        return [x.shape[-1] for x in clips[0]] if clips else []

    def _fit_scaler(self, clips: Sequence["Clip"], place: int) -> Scaler | None:
        return fit_scaler(self.scale, [clip[place] for clip in clips])

    @classmethod
    def _clips(cls, X: Iterable[Any]) -> list["Clip"]:
        """Return every clip as a tuple of float32 arrays."""
        clips = [tuple(x) if cls.inputs else (x,) for x in X]
        kinds = cls._kinds()
        for i, clip in enumerate(clips):
            if len(clip) != len(kinds):
                raise HeadError(f"clip {i} has {len(clip)} arrays; expected {len(kinds)}: {', '.join(kinds)}")
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            return [tuple(np.asarray(x, dtype=np.float32) for x in clip) for clip in clips]

    @classmethod
    def _check(cls, clips: Sequence["Clip"], widths: Sequence[int]) -> None:
        kinds = cls._kinds()
        for i, clip in enumerate(clips):
            for place, (x, kind, width) in enumerate(zip(clip, kinds, widths, strict=True)):
                which = f", array {place} ({kind})," if len(kinds) > 1 else ""
                check_array(x, kind, width, f"clip {i}{which}")

    def _scaled(self, clips: Sequence["Clip"]) -> list["Clip"]:
        return [tuple(scaled(s, x) for s, x in zip(self.scalers_, c, strict=True)) for c in clips]

    def _check_options(self) -> None:
        numbers = {"batch": self.batch, "max_epochs": self.max_epochs, "patience": self.patience}
        for name, value in {**numbers, "the smallest layer": min(self._sizes(), default=0)}.items():
            if value < 1:
                raise HeadError(f"{name} is {value}; expected 1 or more")
        if not 0 <= (dropout := getattr(self, "dropout", 0.0)) < 1:
            raise HeadError(f"dropout is {dropout}; expected 0 or more and less than 1")
        if not 0 < self.lr < np.inf:
            raise HeadError(f"lr is {self.lr}; expected more than 0")
