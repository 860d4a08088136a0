"""The nearest class mean (SYSTEMS 2.5, no. 8)."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestCentroid

from classifiers.contract import FloatArray, Labels, Scale, check_classes
from classifiers.registry import HEADS
from classifiers.scikit import ScikitHead


@HEADS.register("centroid")
class NearestCentroidHead(ScikitHead):
    """The class whose mean is nearest; posteriors of equal round Gaussians around the class means.

    Args:
        scale: Scaling of the features, fitted inside `fit`.
        seed: For interface's sake; the result does not depend on it.

    Attributes:
        variance_: Of the Gaussians: mean squared distance of training clips to their class mean, per feature.
    """

    def __init__(self, scale: Scale = "minmax", seed: int = 0) -> None:
        self.scale = scale
        self.seed = seed

    def estimator(self) -> NearestCentroid:
        """Return scikit-learn's."""
        return NearestCentroid()

    def fit(self, X: FloatArray, y: Labels, groups: Sequence[str] | None = None) -> Self:
        """Fit the means and the width of the Gaussians."""
        super().fit(X, y, groups)
        data = self._scaled(X)
        own = self.estimator_.centroids_[check_classes(y)[1]]
        self.variance_ = max(float(((data - own) ** 2).mean()), float(np.finfo(np.float64).tiny))
        return self

    def predict_proba(self, X: FloatArray) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors under equal priors."""
        distances = euclidean_distances(self._scaled(X), self.estimator_.centroids_, squared=True)
        posteriors: NDArray[np.float64] = softmax(-distances / (2 * self.variance_), axis=1)
        return posteriors
