"""A multi-layer perceptron that is trained for all folds at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.contract import (
    FloatArray,
    HeadError,
    Labels,
    Scale,
    StaticHead,
    as_labels,
    check_classes,
    make_scaler,
)
from classifiers.registry import HEADS

if TYPE_CHECKING:  # PyTorch takes two seconds to import, which most heads do not need
    pass


@HEADS.register("mlp-batched")
class BatchedMLPHead(StaticHead):
    """The network of `mlp` in float32, its outer and inner folds side by side: the same figures, sooner.

    Args:
        hidden: Units of each hidden layer.
        scale: Scaling of the features, fitted inside `fit`.
        alpha: L2 penalty.
        max_iter: Most epochs; stopping there is part of the recipe.
        seed: Of the initial weights and the order of clips.

    Attributes:
        loss_curve_: Training loss of each epoch.
    """

    batched: ClassVar[bool] = True

    def __init__(
        self,
        hidden: Sequence[int] = (80,),
        scale: Scale = "minmax",
        alpha: float = 1e-4,
        max_iter: int = 200,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.scale = scale
        self.alpha = alpha
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X: FloatArray, y: Labels, groups: Sequence[str] | None = None) -> Self:
        """Fit this one alone."""
        if len(X) != len(y):
            raise HeadError(f"{len(X)} clips and {len(y)} labels; expected one label per clip")
        self.fit_many([self], X, y, [np.arange(len(X))], groups)
        return self

    @classmethod
    def fit_many(
        cls,
        heads: Sequence[Any],
        X: FloatArray,
        y: Labels,
        rows: Sequence[NDArray[np.int64]],
        groups: Sequence[str] | None = None,
    ) -> None:
        """Fit heads of the same settings side by side."""
        from classifiers.stacked import Problem, train

        data = np.asarray(X, dtype=np.float64)
        if not np.isfinite(data).all():
            raise HeadError("a feature is NaN or infinite")
        if min(heads[0].hidden, default=1) < 1 or heads[0].max_iter < 1:
            raise HeadError(
                f"hidden is {list(heads[0].hidden)}, max_iter {heads[0].max_iter}; expected 1 or more of each"
            )
        labels = as_labels(y)
        problems: dict[tuple[str, ...], list[tuple[Any, Problem]]] = {}
        for head, own in zip(heads, rows, strict=True):
            head.classes_, index = check_classes(labels[own])
            head.scaler_ = make_scaler(head.scale)
            shift, factor = _affine(head.scaler_, data[own])
            problem = Problem(own, index, shift, factor, head.seed)
            problems.setdefault(tuple(head.classes_), []).append((head, problem))
        for classes, together in problems.items():
            networks = train(
                data.astype(np.float32),
                [problem for _, problem in together],
                heads[0].hidden,
                len(classes),
                heads[0].alpha,
                heads[0].max_iter,
            )
            for (head, _), network in zip(together, networks, strict=True):
                head.weights_, head.biases_ = network.weights, network.biases
                head.loss_curve_ = network.loss

    def predict_proba(self, X: FloatArray) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors."""
        from classifiers.stacked import Network, predict

        data = np.asarray(X, dtype=np.float64)
        data = data if self.scaler_ is None else self.scaler_.transform(data)
        return predict(Network(self.weights_, self.biases_, []), data.astype(np.float32))


def _affine(scaler: Any, data: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a scaler; return what it subtracts and what it multiplies with then."""
    if scaler is None:
        return np.zeros(data.shape[1]), np.ones(data.shape[1])
    scaler.fit(data)
    if hasattr(scaler, "mean_"):
        return scaler.mean_, 1 / scaler.scale_
    return -scaler.min_ / scaler.scale_, scaler.scale_
