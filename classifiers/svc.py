"""A support vector machine whose posteriors are calibrated on held-out subjects."""

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.svm import SVC

from classifiers.contract import (
    FloatArray,
    HeadError,
    Labels,
    Scale,
    StaticHead,
    check_classes,
    held_out_parts,
    make_scaler,
)
from classifiers.coupling import couple, fit_sigmoids, pairs
from classifiers.registry import HEADS

Gamma = Literal["scale"] | float


@HEADS.register("svc")
class SVCHead(StaticHead):
    """RBF support vectors, one machine per pair of classes, coupled into posteriors.

    scikit-learn's own `probability=True` calibrates on random clips, so that a subject stands on both
    sides; here the sigmoids see held-out subjects only. The kernel is computed once per fit, as one matrix
    product, and shared by all machines.

    Args:
        C: The cost, or several: the one with the best log-likelihood on held-out subjects is taken.
        gamma: The RBF width, "scale" (1 / (D * variance)) or several to choose from.
        scale: Scaling of the features, fitted inside `fit`.
        parts: Parts by subject for calibration and choice.
        seed: Which subjects meet in a part.

    Attributes:
        C_: The cost taken.
        gamma_: The width taken, as a number.
    """

    def __init__(
        self,
        C: float | Sequence[float] = 1.0,
        gamma: Gamma | Sequence[Gamma] = "scale",
        scale: Scale = "standard",
        parts: int = 6,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.gamma = gamma
        self.scale = scale
        self.parts = parts
        self.seed = seed

    def fit(self, X: FloatArray, y: Labels, groups: Sequence[str] | None = None) -> Self:
        """Choose C and gamma, calibrate, and train on all clips given."""
        for option in ("C", "gamma"):
            if not (values := _several(getattr(self, option))):
                raise HeadError(f"{option} is an empty list; expected a value or several to choose from")
            if wrong := [v for v in values if v != "scale" and v <= 0]:
                raise HeadError(f"{option} is {wrong[0]}; expected more than 0")
        self.classes_, index = check_classes(y)
        self.scaler_ = make_scaler(self.scale)
        data = np.asarray(X, dtype=np.float64)
        data = data if self.scaler_ is None else self.scaler_.fit_transform(data)
        distances = euclidean_distances(data, squared=True)
        splits = held_out_parts(groups, self.classes_[index], self.parts, self.seed)
        held = np.concatenate([h for _, h in splits])
        best = np.inf
        for gamma, cost in product(self._gammas(data), _several(self.C)):
            kernel = np.exp(-gamma * distances)
            decisions = self._held_out_decisions(kernel, index, splits, cost)[held]
            sigmoids = fit_sigmoids(decisions, index[held], len(self.classes_))
            p = couple(decisions, sigmoids, len(self.classes_))
            loss = -np.log(p[np.arange(len(held)), index[held]]).mean()
            if loss < best:
                best, self.C_, self.gamma_, self.sigmoids_ = loss, cost, gamma, sigmoids
        kernel = np.exp(-self.gamma_ * distances)
        self.machine_ = _machine(self.C_).fit(kernel, index)
        self.support_vectors_ = data[self.machine_.support_].astype(np.float32)
        self.trained_on_clips_ = len(data)
        return self

    def predict_proba(self, X: FloatArray) -> NDArray[np.float64]:
        """Return `[N, K]` coupled posteriors."""
        data = np.asarray(X, dtype=np.float64)
        data = data if self.scaler_ is None else self.scaler_.transform(data)
        # Only support vectors have weight; the other columns of the kernel may stay empty.
        kernel = np.zeros((len(data), self.trained_on_clips_))
        near = euclidean_distances(data, self.support_vectors_, squared=True)
        kernel[:, self.machine_.support_] = np.exp(-self.gamma_ * near)
        decisions = _decisions(self.machine_, kernel)
        return couple(decisions, self.sigmoids_, len(self.classes_))

    def _gammas(self, data: NDArray[np.float64]) -> list[float]:
        variance = float(data.var())
        if variance == 0:
            raise HeadError("every feature is constant over the training clips")
        return [1 / (data.shape[1] * variance) if g == "scale" else float(g) for g in _several(self.gamma)]

    def _held_out_decisions(
        self,
        kernel: NDArray[np.float64],
        index: NDArray[np.int64],
        splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        cost: float,
    ) -> NDArray[np.float64]:
        decisions = np.zeros((len(index), len(pairs(len(self.classes_)))))
        for fit, held in splits:
            machine = _machine(cost)
            machine.fit(kernel[np.ix_(fit, fit)], index[fit])
            decisions[held] = _decisions(machine, kernel[np.ix_(held, fit)])
        return decisions


def _machine(cost: float) -> SVC:
    # A seed that changes nothing: without one, a number of the global generator would be used up.
    return SVC(C=cost, kernel="precomputed", decision_function_shape="ovo", random_state=0)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _decisions(machine: SVC, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `[N, P]` decisions; positive speaks for the first class of the pair."""
    decisions = machine.decision_function(kernel)
    # For two classes scikit-learn gives one column, and positive speaks for the second.
    return -decisions[:, None] if decisions.ndim == 1 else decisions
