"""What heads on the frames of one or several inputs share: what a clip lacks, and how it does without."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from classifiers.arrays import Scaler, fit_scaler
from classifiers.contract import Frames, HeadError
from classifiers.network_head import ClassTargets, NetworkHead

if TYPE_CHECKING:  # PyTorch takes two seconds to import, which most heads do not need
    from classifiers.frame_training import Collator, Enlarge, FrameClip, Schedule

Degradation = Literal["absent", "zeros", "noise", "added noise"]


class FramedHead(NetworkHead):
    """A network on `Frames`; every input is scaled by what its valid rows are like.

    What a clip lacks is zeros in the network's eyes, as many as the median of the training clips has rows.

    Attributes:
        stand_ins_: How many rows of zeros stand in for each input.
    """

    learns_shares: ClassVar[bool] = True
    own_facts: ClassVar[tuple[str, ...]] = ("stand_ins_",)

    @classmethod
    def _clips(cls, X: Iterable[Any]) -> list["FrameClip"]:
        clips = [tuple(x) for x in X]
        for i, clip in enumerate(clips):
            if len(clip) != len(cls.inputs):
                raise HeadError(f"clip {i} has {len(clip)} inputs; expected {len(cls.inputs)}")
        return [tuple(_frames(x) for x in clip) for clip in clips]

    @classmethod
    def _widths(cls, clips: Sequence["FrameClip"]) -> list[int]:
        widths = []
        for place in range(len(cls.inputs)):
            there = next((clip[place] for clip in clips if clip[place] is not None), None)
            if there is None:
                raise HeadError(f"no clip has input {place}; leave it out, and use a head of the others")
            widths.append(there.values.shape[-1])
        return widths

    @classmethod
    def _check(cls, clips: Sequence["FrameClip"], widths: Sequence[int]) -> None:
        from classifiers.frames import check_frames

        for i, clip in enumerate(clips):
            if lacking := [place for place, frames in enumerate(clip) if frames is None]:
                if len(lacking) == len(clip):
                    raise HeadError(f"clip {i} has none of the inputs; expected one at least")
                if not cls.partial:
                    raise HeadError(f"clip {i} lacks input {lacking[0]}; {cls.__name__} needs all of them")
            for place, (frames, width) in enumerate(zip(clip, widths, strict=True)):
                if frames is not None:
                    which = f", input {place}," if len(clip) > 1 else ""
                    check_frames(frames, width, f"clip {i}{which}")

    def _fit_scaler(self, clips: Sequence["FrameClip"], place: int) -> Scaler | None:
        rows = [f.values[f.valid] for clip in clips if (f := clip[place]) is not None]
        # Where no clip has it there is nothing to learn: zeros leave every value as it is.
        return fit_scaler(self.scale, rows or [np.zeros((1, self.widths_[place]), np.float32)])

    def _learn_inputs(self, clips: Sequence["FrameClip"], widths: list[int]) -> None:
        super()._learn_inputs(clips, widths)
        lengths = [[len(f.values) for c in clips if (f := c[p]) is not None] for p in range(len(widths))]
        self.stand_ins_ = [int(np.median(own)) if own else 1 for own in lengths]

    def _scaled(self, clips: Sequence["FrameClip"]) -> list["FrameClip"]:
        from classifiers.frames import scaled_frames

        return [
            tuple(
                None if f is None else scaled_frames(s, f) for s, f in zip(self.scalers_, clip, strict=True)
            )
            for clip in clips
        ]

    @property
    def _collate(self) -> "Collator":
        from classifiers.frame_training import Collator

        return Collator(self.widths_, self.stand_ins_)

    def predict_degraded(self, X: Any, place: int, how: Degradation, seed: int = 0) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors, or values, of clips of which one input says nothing (SYSTEMS 3.8).

        Args:
            X: The clips.
            place: Which input.
            how: "absent", as if the clip had none; "zeros"; "noise", drawn from N(0, 1); "added noise", the
                input with noise of its own mean and deviation added. All of them after scaling.
            seed: Of the noise, which is each clip's own whatever clips are with it.
        """
        clips = self._scaled(self._checked(X))
        return self._ask(
            [
                tuple(
                    _degraded(f, how, seed) if p == place and f is not None else f for p, f in enumerate(clip)
                )
                for clip in clips
            ]
        )


class DescendingHead(FramedHead):
    """A head on frames that is trained by stochastic gradient descent (katerynaCh, SYSTEMS 3.8)."""

    lr: float
    momentum: float
    dampening: float
    weight_decay: float
    max_epochs: int
    milestones: Sequence[int]
    patience: int | None

    def _enlarge(self) -> "Enlarge | None":
        """Return what makes more clips of a batch."""
        return None

    @property
    def _schedule(self) -> "Schedule":
        from classifiers.frame_training import Schedule

        return Schedule(
            lr=self.lr,
            momentum=self.momentum,
            dampening=self.dampening,
            weight_decay=self.weight_decay,
            batch=self.batch,
            max_epochs=self.max_epochs,
            milestones=tuple(self.milestones),
            patience=self.patience,
        )

    def _train(
        self,
        clips: Sequence["FrameClip"],
        y: ClassTargets,
        fit: NDArray[np.int64],
        held: NDArray[np.int64],
    ) -> int:
        from classifiers.frame_training import train

        return train(
            self.network_, clips, y, fit, held, self._collate, self._schedule, self.seed, self._enlarge()
        )

    def _ask(self, clips: Sequence["FrameClip"]) -> NDArray[np.float64]:
        from classifiers.frame_training import posteriors

        return posteriors(self.network_, clips, self._collate, self.batch)

    def _check_options(self) -> None:
        patience = 1 if self.patience is None else self.patience
        numbers = {"batch": self.batch, "max_epochs": self.max_epochs, "patience": patience}
        for name, value in numbers.items():
            if value < 1:
                raise HeadError(f"{name} is {value}; expected 1 or more")
        if not 0 < self.lr < np.inf:
            raise HeadError(f"lr is {self.lr}; expected more than 0")
        for name in ("momentum", "dampening"):
            if not 0 <= getattr(self, name) < 1:
                raise HeadError(f"{name} is {getattr(self, name)}; expected 0 or more and less than 1")
        if self.weight_decay < 0:
            raise HeadError(f"weight_decay is {self.weight_decay}; expected 0 or more")


def _frames(frames: Frames | None) -> Frames | None:
    """Return frames in float32; None where no row says anything."""
    if frames is None or not np.any(frames.valid):
        return None
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        values = np.asarray(frames.values, dtype=np.float32)
    return Frames(values, np.asarray(frames.times), np.asarray(frames.valid, dtype=np.bool_))


def _degraded(frames: Frames, how: Degradation, seed: int) -> Frames | None:
    if how == "absent":
        return None
    x = frames.values
    if how == "zeros":
        return frames._replace(values=np.zeros_like(x))
    dice = np.random.default_rng([seed, crc32(x.tobytes())])
    noise = dice.standard_normal(x.shape, dtype=np.float32)
    if how == "added noise":
        real = x[frames.valid]
        noise = x + (real.mean() + real.std() * noise)
    return frames._replace(values=noise * frames.valid[:, None])
