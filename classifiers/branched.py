"""What the heads on `BranchedNetwork` share: held-out subjects, scalers, training, files."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.arrays import check_array, fit_scaler, scaled
from classifiers.contract import (
    Head,
    HeadError,
    InputKind,
    Labels,
    Scale,
    as_labels,
    check_classes,
    held_out_parts,
)
from classifiers.saved import read_facts, read_weights, reading, scaler_facts, scaler_of, write_network

if TYPE_CHECKING:  # PyTorch takes two seconds to import, which most heads do not need
    from classifiers.branch_training import Clip
    from classifiers.branches import BranchedNetwork


class BranchedHead(Head):
    """A `BranchedNetwork`, trained with class weights, stopped by held-out subjects.

    Part of the training subjects are held out to watch the unweighted average recall, and where that stays
    the same the posteriors of the right classes; the weights of the best epoch stay. Each of a clip's arrays
    has its own scaler, fitted on the clips that are learned from.

    Attributes:
        held_out_: The subjects that decided when to stop.
        epochs_: The best epoch, from 1.
    """

    scale: Scale
    lr: float
    batch: int
    max_epochs: int
    patience: int
    parts: int
    seed: int

    @abstractmethod
    def _network(self, widths: Sequence[int], classes: int) -> "BranchedNetwork":
        """Return an untrained network for arrays of these widths."""

    @abstractmethod
    def _sizes(self) -> Sequence[int]:
        """Return the sizes of all layers, which must be 1 or more."""

    def fit(self, X: Any, y: Labels, groups: Sequence[str] | None = None) -> Self:
        """Train until the held-out subjects are recognised no better."""
        if len(X) != len(y):
            raise HeadError(f"{len(X)} clips and {len(y)} labels; expected one label per clip")
        self.fit_many([self], X, y, [np.arange(len(X))], groups)
        return self

    @classmethod
    def fit_many(
        cls,
        heads: Sequence[Any],
        X: Any,
        y: Labels,
        rows: Sequence[NDArray[np.int64]],
        groups: Sequence[str] | None = None,
    ) -> None:
        """Train heads one after the other; clips that are refused are named by their place in X."""
        clips = cls._clips(X)
        widths = [x.shape[-1] for x in clips[0]] if clips else []
        cls._check(clips, widths)
        labels = as_labels(y)
        subjects = np.arange(len(clips)).astype(str) if groups is None else np.asarray(groups, dtype=str)
        for head, own in zip(heads, rows, strict=True):
            head._fit([clips[i] for i in own], widths, labels[own], subjects[own])

    def _fit(self, clips: Sequence["Clip"], widths: list[int], y: Any, subjects: NDArray[Any]) -> None:
        from classifiers.branch_training import seeded, train

        self._check_options()
        self.classes_, index = check_classes(y)
        names = self.classes_[index]
        fit, held = held_out_parts(subjects.tolist(), names, self.parts, self.seed)[0]
        self.held_out_ = sorted(set(subjects[held].tolist()))
        self.widths_ = widths
        self.scalers_ = [fit_scaler(self.scale, [clips[i][p] for i in fit]) for p in range(len(widths))]
        with seeded(self.seed):
            self.network_ = self._network(widths, len(self.classes_))
            self.epochs_ = train(
                self.network_,
                self._scaled(clips),
                index,
                fit,
                held,
                seed=self.seed,
                lr=self.lr,
                batch=self.batch,
                max_epochs=self.max_epochs,
                patience=self.patience,
            )

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors; the batch a clip meets does not change them."""
        from classifiers.branch_training import posteriors

        clips = self._clips(X)
        self._check(clips, self.widths_)
        return posteriors(self.network_, self._scaled(clips), self.batch)

    def save(self, folder: Path) -> None:
        """Write `head.json` and `head.safetensors`."""
        facts = {
            "head": type(self).__name__,
            "params": self.get_params(),
            "classes": self.classes_.tolist(),
            "widths": self.widths_,
            "held_out": self.held_out_,
            "epochs": self.epochs_,
            "scalers": [scaler_facts(s, self.scale) for s in self.scalers_],
        }
        write_network(folder, facts, self.network_)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            HeadError: If a file is absent or does not fit.
        """
        from classifiers.branch_training import device, seeded

        with reading(folder, cls.__name__):
            facts = read_facts(folder)
            if facts["head"] != cls.__name__:
                raise ValueError(f"it is of a {facts['head']}")
            head = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts["params"].items()})
            head._check_options()
            if len(set(facts["classes"])) != len(facts["classes"]) or len(facts["classes"]) < 2:
                raise ValueError(f"its classes are {facts['classes']}; expected two or more names")
            head.classes_ = np.asarray(facts["classes"], dtype=str)
            head.widths_, head.held_out_, head.epochs_ = facts["widths"], facts["held_out"], facts["epochs"]
            numbers = len(head.widths_), len(facts["scalers"])
            if numbers != (wanted := len(cls._kinds()), wanted):
                raise ValueError(
                    f"it has {numbers[0]} widths and {numbers[1]} scalers; expected {wanted} of each"
                )
            head.scalers_ = [
                scaler_of(of, head.scale, width)
                for of, width in zip(facts["scalers"], head.widths_, strict=True)
            ]
            with seeded(head.seed):  # initial weights are drawn, then replaced
                head.network_ = head._network(head.widths_, len(head.classes_))
            read_weights(folder, head.network_)
            head.network_.to(device())
        return head

    @classmethod
    def _kinds(cls) -> tuple[InputKind, ...]:
        return cls.inputs or (("sequence",) if cls.sequence else ("static",))

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
