"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599) of every source before it is fused."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import clone

from fusion.contract import Fuser, log_posteriors

_LIMIT = 100.0


class Tempered(Fuser):
    """A fuser whose sources are calibrated first: softmax(log p / T), one T per source.

    The temperatures are learned from the same rows as the fuser, so a rule becomes a fusion that learns.

    Args:
        fuser: What fuses the calibrated posteriors.

    Attributes:
        temperatures_: `[S]`, each the one with the lowest negative log-likelihood.
    """

    def __init__(self, fuser: Fuser) -> None:
        self.fuser = fuser

    def fit(self, P: NDArray[np.float64], y: NDArray[np.int64], groups: Sequence[str] | None = None) -> Self:
        """Learn the temperatures, then let the fuser learn from what they make."""
        logs = log_posteriors(P)
        self.temperatures_ = np.array([_temperature(logs[:, s], y) for s in range(P.shape[1])])
        self.fuser_ = clone(self.fuser)
        self.fuser_.fit(self._tempered(P), y, groups)
        return self

    def predict_proba(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fuse the calibrated posteriors."""
        return self.fuser_.predict_proba(self._tempered(P))

    def source_weights(self) -> NDArray[np.float64] | None:
        """Return what the fuser says of the calibrated sources."""
        return self.fuser_.source_weights()

    def check(self, sources: int) -> None:
        """Let the fuser say what it thinks of them."""
        self.fuser.check(sources)

    def of(self, sources: Sequence[int]) -> Self:
        """Return the same for some of the sources."""
        return type(self)(self.fuser.of(sources))

    def _tempered(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        tempered: NDArray[np.float64] = softmax(log_posteriors(P) / self.temperatures_[:, None], axis=2)
        return tempered


def _temperature(logs: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    rows = np.arange(len(y))

    def loss(log_t: float) -> float:
        return float(-log_softmax(logs / np.exp(log_t), axis=1)[rows, y].mean())

    edge = np.log(_LIMIT)
    return float(np.exp(minimize_scalar(loss, bounds=(-edge, edge), method="bounded").x))
