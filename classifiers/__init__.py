"""Arrays in, posteriors or values out: one head per file."""

from classifiers import (  # noqa: F401  # register
    bilstm,
    centroid,
    concat,
    dense_dropout,
    forest,
    knn,
    linear_svc,
    logistic,
    mel_cnn,
    mlp,
    mlp_batched,
    mlp_regression,
    nusvc,
    perceptron,
    ridge,
    ridge_regression,
    svc,
    svc_plain,
    svr,
    temporal_cnn,
    tree,
)
from classifiers.contract import Frames, Head, HeadError, SoftLabels, targets_at
from classifiers.normalise import normalise_by_subject, pool_mean
from classifiers.registry import HEADS

__all__ = [
    "HEADS",
    "Frames",
    "Head",
    "HeadError",
    "SoftLabels",
    "normalise_by_subject",
    "pool_mean",
    "targets_at",
]
