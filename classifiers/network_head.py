"""What heads that are networks on a clip's arrays share: held-out subjects, scalers, files."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.arrays import Scaler
from classifiers.contract import (
    Head,
    HeadError,
    InputKind,
    Labels,
    Scale,
    SoftLabels,
    check_classes,
    held_out_parts,
    targets_at,
)
from classifiers.saved import read_facts, read_weights, reading, scaler_facts, scaler_of, write_network

if TYPE_CHECKING:  # PyTorch takes two seconds to import, which most heads do not need
    from torch import nn


@dataclass(frozen=True)
class ClassTargets:
    """What a network is to say of clips.

    Attributes:
        index: `[N]` class indices.
        shares: `[N, K]` float32, the share of each class, which the loss is of; None: all is the one class's.
    """

    index: NDArray[np.int64]
    shares: NDArray[np.float32] | None


class NetworkHead(Head):
    """A network on the arrays of a clip.

    Part of the training subjects are held out to watch how well they are recognised; the weights of the best
    epoch stay. Each of a clip's arrays has its own scaler, fitted on the clips that are learned from.

    Attributes:
        held_out_: The subjects that decided when to stop.
        epochs_: The best epoch, from 1.
    """

    own_facts: ClassVar[tuple[str, ...]] = ()  # learned names that are kept beside those of every network

    scale: Scale
    batch: int
    parts: int
    seed: int

    @abstractmethod
    def _network(self, widths: Sequence[int], classes: int) -> "nn.Module":
        """Return an untrained network for arrays of these widths."""

    @abstractmethod
    def _check_options(self) -> None:
        """Refuse settings that no network can be made of or trained with."""

    @classmethod
    @abstractmethod
    def _clips(cls, X: Iterable[Any]) -> list[Any]:
        """Return every clip as a tuple of its inputs."""

    @classmethod
    @abstractmethod
    def _widths(cls, clips: Sequence[Any]) -> list[int]:
        """Return D of each input."""

    @classmethod
    @abstractmethod
    def _check(cls, clips: Sequence[Any], widths: Sequence[int]) -> None:
        """Refuse clips that do not fit."""

    @abstractmethod
    def _fit_scaler(self, clips: Sequence[Any], place: int) -> Scaler | None:
        """Return a scaler of one input, of clips that are learned from."""

    @abstractmethod
    def _scaled(self, clips: Sequence[Any]) -> list[Any]:
        """Return clips as the network sees them."""

    @abstractmethod
    def _train(
        self, clips: Sequence[Any], y: "ClassTargets", fit: NDArray[np.int64], held: NDArray[np.int64]
    ) -> int:
        """Train the network on scaled clips; return the epoch whose weights it has."""

    @abstractmethod
    def _ask(self, clips: Sequence[Any]) -> NDArray[np.float64]:
        """Return the network's `[N, K]` posteriors of scaled clips."""

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
        y: Any,
        rows: Sequence[NDArray[np.int64]],
        groups: Sequence[str] | None = None,
    ) -> None:
        """Train heads one after the other; clips that are refused are named by their place in X."""
        clips = cls._clips(X)
        widths = cls._widths(clips)
        cls._check(clips, widths)
        subjects = np.arange(len(clips)).astype(str) if groups is None else np.asarray(groups, dtype=str)
        for head, own in zip(heads, rows, strict=True):
            head._fit([clips[i] for i in own], widths, targets_at(y, own), subjects[own])

    def _fit(self, clips: Sequence[Any], widths: list[int], y: Any, subjects: NDArray[Any]) -> None:
        from classifiers.branch_training import seeded

        self._check_options()
        self.classes_, index = check_classes(y)
        names = self.classes_[index]
        fit, held = held_out_parts(subjects.tolist(), names, self.parts, self.seed)[0]
        self.held_out_ = sorted(set(subjects[held].tolist()))
        self._learn_inputs([clips[i] for i in fit], widths)
        with seeded(self.seed):
            self.network_ = self._network(widths, len(self.classes_))
            shares = y.of(self.classes_.tolist()) if isinstance(y, SoftLabels) else None
            self.epochs_ = self._train(self._scaled(clips), ClassTargets(index, shares), fit, held)

    def _learn_inputs(self, clips: Sequence[Any], widths: list[int]) -> None:
        """Note what the inputs are like, from the clips that are learned from."""
        self.widths_ = widths
        self.scalers_ = [self._fit_scaler(clips, place) for place in range(len(widths))]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors; the batch a clip meets does not change them."""
        return self._ask(self._scaled(self._checked(X)))

    def _checked(self, X: Any) -> list[Any]:
        clips = self._clips(X)
        self._check(clips, self.widths_)
        return clips

    def save(self, folder: Path) -> None:
        """Write `head.json` and `head.safetensors`."""
        facts = {
            "head": type(self).__name__,
            "params": self.get_params(),
            **self._names(),
            "widths": self.widths_,
            "held_out": self.held_out_,
            "epochs": self.epochs_,
            "scalers": [scaler_facts(s, self.scale) for s in self.scalers_],
            **{name: getattr(self, name) for name in self.own_facts},
        }
        write_network(folder, facts, self.network_)

    def _names(self) -> dict[str, list[str]]:
        """Return what its outputs are called, as JSON."""
        return {"classes": self.classes_.tolist()}

    def _take_names(self, facts: dict[str, Any]) -> int:
        """Take what its outputs are called from a file; return how many there are."""
        if len(set(facts["classes"])) != len(facts["classes"]) or len(facts["classes"]) < 2:
            raise ValueError(f"its classes are {facts['classes']}; expected two or more names")
        self.classes_ = np.asarray(facts["classes"], dtype=str)
        return len(self.classes_)

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
            outputs = head._take_names(facts)
            head.widths_, head.held_out_, head.epochs_ = facts["widths"], facts["held_out"], facts["epochs"]
            numbers = len(head.widths_), len(facts["scalers"])
            if numbers != (wanted := len(cls._kinds()), wanted):
                raise ValueError(
                    f"it has {numbers[0]} widths and {numbers[1]} scalers; expected {wanted} of each"
                )
            for name in cls.own_facts:
                setattr(head, name, facts[name])
            head.scalers_ = [
                scaler_of(of, head.scale, width)
                for of, width in zip(facts["scalers"], head.widths_, strict=True)
            ]
            with seeded(head.seed):  # initial weights are drawn, then replaced
                head.network_ = head._network(head.widths_, outputs)
            read_weights(folder, head.network_)
            head.network_.to(device())
        return head

    @classmethod
    def _kinds(cls) -> tuple[InputKind, ...]:
        return cls.inputs or (("sequence",) if cls.sequence else ("static",))
