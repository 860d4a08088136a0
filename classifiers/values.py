"""Heads that predict values of attributes: what they have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from affectstack.concordance import concordance
from classifiers.contract import (
    FloatArray,
    HeadError,
    Scale,
    StaticHead,
    Task,
    held_out_parts,
    make_scaler,
)
from classifiers.scikit import finite


def check_values(y: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the names of the attributes and the values `[N, A]` of the training clips.

    Raises:
        HeadError: If they are no table of finite numbers, or an attribute does not vary.
    """
    if not isinstance(y, pd.DataFrame) or not len(y.columns):
        raise HeadError(f"values are wanted, a table with one column per attribute; found {type(y).__name__}")
    try:
        values = y.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise HeadError(f"values that are no numbers ({error})") from error
    names = np.array([str(c) for c in y.columns])
    if not len(values):
        raise HeadError("there are no training clips")
    for name, own in zip(names, values.T, strict=True):
        if not np.isfinite(own).all():
            raise HeadError(f"attribute {str(name)!r} has values that are NaN or infinite")
        if (own == own[0]).all():
            raise HeadError(
                f"attribute {str(name)!r} is {own[0]:g} in all training clips; expected at least 2 values"
            )
    return names, values


class ValueHead(StaticHead):
    """A regression on one vector per clip, behind a scaler.

    Values are z-scored by the training clips while it learns, so that penalties and tolerances mean the same
    for an attribute of 0 to 1 and for one of 1 to 7. What it predicts stays within the values of the training
    clips: ratings end where their scale ends, but a line goes on, and one clip of odd features that is said
    to be far outside would ruin the CCC of all.

    Attributes:
        range_: `[2, A]`, the least and the most value of each attribute in training.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset({"values"})
    scale: Scale

    def fit(self, X: FloatArray, y: pd.DataFrame, groups: Sequence[str] | None = None) -> Self:
        """Fit scalers and the regression; whatever is chosen is chosen on held-out subjects."""
        self.attributes_, values = check_values(y)
        data = finite(X)
        if len(data) != len(values):
            raise HeadError(f"{len(data)} clips with values for {len(values)}")
        self.settle(data, values, groups)
        self.scaler_ = make_scaler(self.scale)
        scaled = data if self.scaler_ is None else self.scaler_.fit_transform(data)
        self.centre_, self.spread_ = values.mean(axis=0), values.std(axis=0)
        self.range_ = np.stack([values.min(axis=0), values.max(axis=0)])
        try:
            self.learn(scaled, (values - self.centre_) / self.spread_)
        except ValueError as error:
            raise HeadError(f"scikit-learn refuses: {' '.join(str(error).split())}") from error
        return self

    def predict_values(self, X: FloatArray) -> NDArray[np.float64]:
        """Return `[N, A]` values."""
        data = finite(X)
        try:
            scaled = data if self.scaler_ is None else self.scaler_.transform(data)
            said = self.say(scaled)
        except ValueError as error:
            raise HeadError(f"scikit-learn refuses: {' '.join(str(error).split())}") from error
        return np.clip(self.centre_ + self.spread_ * said, *self.range_)

    def check_loaded(self) -> None:
        """Refuse a file whose attributes and values do not fit together."""
        count = len(self.attributes_)
        found = [np.shape(a) for a in (self.centre_, self.spread_, self.range_)]
        if not count or found != [(count,), (count,), (2, count)]:
            raise HeadError(f"{count} attributes with values of shapes {found}")

    def settle(
        self, data: NDArray[np.float64], values: NDArray[np.float64], groups: Sequence[str] | None
    ) -> None:  # most have nothing to choose
        """Choose settings on held-out subjects.

        Args:
            data: `[N, D]`, as given.
            values: `[N, A]`, as given.
            groups: `[N]` subjects.
        """

    @abstractmethod
    def learn(self, data: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Fit the regression on `[N, D]` scaled features and `[N, A]` z-scored values."""

    @abstractmethod
    def say(self, data: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[N, A]` z-scored values of `[N, D]` scaled features."""


class ChoosingHead(ValueHead):
    """One regression per attribute, each with the settings that do best on held-out subjects.

    An option that is a list is chosen from: by the concordance (CCC) of held-out predictions, for each
    attribute by itself. Scalers are fitted anew for every part that is held out.

    Attributes:
        options: Those that may be lists.
        may_be_zero: Those of them that may be 0.
        chosen_: The settings of each attribute.
        machines_: The regression of each attribute.
    """

    options: ClassVar[tuple[str, ...]]
    may_be_zero: ClassVar[frozenset[str]] = frozenset()
    parts: int
    seed: int

    @abstractmethod
    def estimator(self, **setting: Any) -> BaseEstimator:
        """Return the unfitted regression of one attribute."""

    def settle(
        self, data: NDArray[np.float64], values: NDArray[np.float64], groups: Sequence[str] | None
    ) -> None:
        """Choose settings for each attribute, if there are several."""
        settings = self._settings()
        if len(settings) == 1:
            self.chosen_ = settings * values.shape[1]
            return
        every = ["clip"] * len(data)  # one class: subjects are spread over parts of about one size
        splits = held_out_parts(groups, every, self.parts, self.seed)
        held = np.concatenate([rows for _, rows in splits])
        found = [self.held_out(setting, data, values, splits) for setting in settings]
        scores = np.stack([concordance(said[held], values[held]) for said in found])
        self.chosen_ = [settings[i] for i in scores.argmax(axis=0)]

    def learn(self, data: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Fit one regression per attribute."""
        self.machines_: list[Any] = [
            self.estimator(**setting).fit(data, own)
            for setting, own in zip(self.chosen_, values.T, strict=True)
        ]

    def say(self, data: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ask each regression."""
        return np.column_stack([machine.predict(data) for machine in self.machines_])

    def held_out(
        self,
        setting: Mapping[str, Any],
        data: NDArray[np.float64],
        values: NDArray[np.float64],
        splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    ) -> NDArray[np.float64]:
        """Return what a setting says of clips whose subjects it was not trained on.

        Args:
            setting: Its options.
            data: `[N, D]`, as given.
            values: `[N, A]`, as given.
            splits: Pairs of (fit, held-out) rows.

        Returns:
            `[N, A]`.
        """
        said = np.full(values.shape, np.nan)
        for fit, held in splits:
            scaler = make_scaler(self.scale)
            known = data[fit] if scaler is None else scaler.fit_transform(data[fit])
            asked = data[held] if scaler is None else scaler.transform(data[held])
            for a, own in enumerate(values[fit].T):
                spread = own.std() or 1.0  # constant among these: its mean is all there is to say
                machine: Any = self.estimator(**setting).fit(known, (own - own.mean()) / spread)
                found = own.mean() + spread * machine.predict(asked)
                said[held, a] = np.clip(found, own.min(), own.max())
        return said

    def check_loaded(self) -> None:
        """Refuse a file that has not one machine per attribute."""
        super().check_loaded()
        if len(self.machines_) != len(self.attributes_):
            raise HeadError(f"{len(self.attributes_)} attributes and {len(self.machines_)} machines")

    def _settings(self) -> list[dict[str, Any]]:
        axes = []
        for option in self.options:
            given = getattr(self, option)
            values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
            if not values:
                raise HeadError(f"{option} is an empty list; expected a value or several to choose from")
            least = "0 or more" if option in self.may_be_zero else "more than 0"
            for v in values:
                if not isinstance(v, str) and (v < 0 or (v == 0 and option not in self.may_be_zero)):
                    raise HeadError(f"{option} is {v:g}; expected {least}")
            axes.append(values)
        return [dict(zip(self.options, chosen, strict=True)) for chosen in product(*axes)]
