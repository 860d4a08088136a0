"""What a head takes and gives."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from affectstack import AffectstackError

Scale = Literal["none", "minmax", "standard"]
InputKind = Literal["static", "sequence", "frames"]
FloatArray = NDArray[np.floating[Any]]
Task = Literal["classes", "values"]


class HeadError(AffectstackError):
    """A head cannot be trained on what it was given."""


class Frames(NamedTuple):
    """Rows of one feature of a clip at their times, none left out.

    Attributes:
        values: `[T, D]` float32.
        times: `[T, 2]` float64, `[start, end)` of each row in seconds.
        valid: `[T]` bool; False where the feature says nothing, such as in frames without a face.
    """

    values: NDArray[np.float32]
    times: NDArray[np.float64]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class SoftLabels:
    """Labels, and what share of the people who judged a clip said of it.

    Attributes:
        labels: `[N]` the class of each clip.
        shares: `[N, K]`, in the order of the labels' categories.
    """

    labels: pd.Categorical
    shares: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "SoftLabels":
        return SoftLabels(self.labels[rows], self.shares[rows])

    def of(self, classes: Sequence[str]) -> NDArray[np.float32]:
        """Return `[N, K]` shares of some classes, which sum to 1."""
        columns = [list(self.labels.categories).index(name) for name in classes]
        chosen = self.shares[:, columns]
        return (chosen / chosen.sum(axis=1, keepdims=True)).astype(np.float32)


Labels = Sequence[str] | NDArray[Any] | pd.Categorical | SoftLabels
Targets = Labels | pd.DataFrame


class Head(ClassifierMixin, BaseEstimator):
    """A model in scikit-learn's manner: the constructor stores, `fit` learns, learned names end in `_`.

    Attributes:
        tasks: What it can predict: posteriors of "classes", "values" of attributes, or both; of which, `y`
            of `fit` decides.
        sequence: False: X is `[N, D]`. True: X is a list of N arrays `[T_i, D]`.
        inputs: Empty: a clip is one array, as `sequence` says. Otherwise what a clip is made of, such as a
            vector of its video and the frames of its sound: X is a list of N tuples of one array per entry,
            `[D]` for "static", `[T_i, D]` for "sequence", `Frames` for "frames". `sequence` is True of such a
            head: its X is a list.
        partial: True if a clip may lack some of its inputs, not all: None stands in their place.
        learns_unlabelled: True if clips without a label teach it something: y, a Categorical or a table of
            values, is NaN there.
        learns_shares: True if y may be `SoftLabels`.
        batched: True if `fit_many` fits several side by side, faster than one after the other.
        classes_: The classes in the order of the posterior's columns, where it was trained on classes.
        attributes_: The attributes in the order of the columns of values, where it was trained on values.
        remarks_: What a reader must know about the clips that it was fitted on, one sentence each; absent of
            heads that have nothing to say.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset({"classes"})
    sequence: ClassVar[bool] = False
    inputs: ClassVar[tuple[InputKind, ...]] = ()
    partial: ClassVar[bool] = False
    learns_unlabelled: ClassVar[bool] = False
    learns_shares: ClassVar[bool] = False
    batched: ClassVar[bool] = False
    classes_: NDArray[Any]
    attributes_: NDArray[Any]

    @abstractmethod
    def fit(self, X: Any, y: Any, groups: Sequence[str] | None = None) -> Self:
        """Learn from clips.

        Args:
            X: The features, see `sequence` and `inputs`.
            y: `[N]` class names; a pandas Categorical also says in which order the classes stand. Of values
                a pandas DataFrame `[N, A]`, float64, its columns named like the attributes.
            groups: `[N]` subjects. Whatever is chosen on held-out clips (calibration, C, when to stop) is
                chosen on clips of held-out subjects. None: every clip is its own group.

        Raises:
            HeadError: If there are too few classes or subjects, or values that do not vary.
        """

    @classmethod
    def fit_many(
        cls,
        heads: Sequence[Any],
        X: Any,
        y: Any,
        rows: Sequence[NDArray[np.int64]],
        groups: Sequence[str] | None = None,
    ) -> None:
        """Fit heads of the same settings, each on its own part of the clips: one after the other.

        Args:
            heads: Unfitted.
            X: The features of all clips, see `sequence` and `inputs`.
            y: `[N]` class names, or `[N, A]` values.
            rows: The clips that each head learns from.
            groups: `[N]` subjects.
        """
        for head, own in zip(heads, rows, strict=True):
            clips = [X[i] for i in own] if cls.sequence else np.asarray(X)[own]
            head.fit(clips, targets_at(y, own), None if groups is None else [groups[i] for i in own])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors; rows sum to 1 and do not depend on each other.

        Raises:
            HeadError: If it predicts something else.
        """
        raise HeadError(f"{type(self).__name__} predicts {_instead(self.tasks)}, not posteriors of classes")

    def predict_values(self, X: Any) -> NDArray[np.float64]:
        """Return `[N, A]` values in the order of `attributes_`; rows do not depend on each other.

        Raises:
            HeadError: If it predicts something else.
        """
        raise HeadError(f"{type(self).__name__} predicts {_instead(self.tasks)}, not values of attributes")

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted head into a folder, as files that hold no code."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class of each clip."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class StaticHead(Head):
    """A head on one vector per clip, kept by skops: readable without running code from the file.

    Attributes:
        trusted: Types in its file that are neither ours nor known to skops as harmless.
    """

    trusted: ClassVar[tuple[str, ...]] = ()

    def save(self, folder: Path) -> None:
        """Write `head.skops`."""
        import skops.io

        folder.mkdir(parents=True, exist_ok=True)
        skops.io.dump(self, folder / "head.skops")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `head.skops`; any type in it that is not one of ours or scikit-learn's is refused.

        Raises:
            HeadError: If the file is absent, damaged or holds another type.
        """
        import skops.io

        path = folder / "head.skops"
        own = [f"{cls.__module__}.{cls.__qualname__}", *cls.trusted]
        try:
            loaded = skops.io.load(path, trusted=own)
        except Exception as error:
            raise HeadError(f"{path}: not a saved {cls.__name__} ({error})") from error
        if not isinstance(loaded, cls):
            raise HeadError(f"{path}: holds a {type(loaded).__name__}, expected a {cls.__name__}")
        try:
            loaded.check_loaded()
        except (HeadError, AttributeError) as error:
            raise HeadError(f"{path}: not a saved {cls.__name__} ({error})") from error
        return loaded

    def check_loaded(self) -> None:
        """Refuse what came from a file and would be unsafe to use."""


def make_scaler(scale: Scale) -> StandardScaler | MinMaxScaler | None:
    """Return a new scaler; it is fitted on training clips alone, inside the fold."""
    return {"none": None, "minmax": MinMaxScaler(), "standard": StandardScaler()}[scale]


def as_labels(y: Labels) -> pd.Categorical | SoftLabels | NDArray[Any]:
    """Return class names that rows can be chosen from; a Categorical keeps the order of its classes."""
    return y if isinstance(y, pd.Categorical | SoftLabels) else np.asarray(y, dtype=str)


def targets_at(y: Any, rows: NDArray[Any]) -> Any:
    """Return the class names, or the values, of some clips."""
    return y.iloc[rows] if isinstance(y, pd.DataFrame) else as_labels(y)[rows]


def _instead(tasks: frozenset[Task]) -> str:
    return "posteriors of classes" if "classes" in tasks else "values of attributes"


def check_classes(y: Labels) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes and the index of each clip's class.

    The classes are sorted by name, or stand in the order of a pandas Categorical: ties between classes go to
    the first of them, and some results depend on their order as others do on a seed.

    Raises:
        HeadError: If there are fewer than two.
    """
    y = y.labels if isinstance(y, SoftLabels) else y
    classes, index = np.unique(np.asarray(y, dtype=str), return_inverse=True)
    if isinstance(y, pd.Categorical):
        order = np.array([c for c in y.categories.astype(str) if c in set(classes)])
        index, classes = np.argsort(order)[index], order  # sorted name i stands at place argsort(order)[i]
    if len(classes) < 2:
        raise HeadError(f"the training clips have {len(classes)} class; expected at least 2")
    return classes, index


def held_out_parts(
    groups: Sequence[str] | None, y: Sequence[Any] | NDArray[Any], parts: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split clips into parts by subject, for choices inside the training part.

    Args:
        groups: `[N]` subjects; None makes every clip its own group.
        y: `[N]` classes, spread evenly over the parts; a split whose training side lacks one is left out.
        parts: How many parts to make, at most one per subject.
        seed: Which subjects meet in a part.

    Returns:
        Pairs of (fit, held-out) row numbers; every class is held out at least once.

    Raises:
        HeadError: If there are too few subjects, or a class cannot be held out by subject.
    """
    if parts < 2:
        raise HeadError(f"parts is {parts}; expected at least 2")
    labels = np.asarray(y)
    subjects = np.arange(len(labels)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    number = min(parts, len(set(subjects)))
    if number < 2:
        raise HeadError("the training clips are of 1 subject; choices on held-out subjects need 2 or more")
    splitter = StratifiedGroupKFold(n_splits=number, shuffle=True, random_state=seed)
    every = set(labels.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rare classes; they are looked after below
        splits = list(splitter.split(np.zeros(len(labels)), labels, subjects))
    usable = [(fit, held) for fit, held in splits if set(labels[fit].tolist()) == every]
    held_out = {c for _, held in usable for c in labels[held].tolist()}
    if lost := sorted(every - held_out):
        raise HeadError(
            f"class {lost[0]!r} cannot be held out by subject: its training clips are of too few subjects"
        )
    return usable
