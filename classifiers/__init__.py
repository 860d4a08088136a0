"""Arrays in, posteriors out: one head per file."""

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
    nusvc,
    perceptron,
    ridge,
    svc,
    svc_plain,
    temporal_cnn,
    tree,
)
from classifiers.contract import Frames, Head, HeadError, SoftLabels
from classifiers.normalise import normalise_by_subject, pool_mean
from classifiers.registry import HEADS

__all__ = ["HEADS", "Frames", "Head", "HeadError", "SoftLabels", "normalise_by_subject", "pool_mean"]
