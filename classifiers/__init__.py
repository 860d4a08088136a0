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
    tree,
)
from classifiers.contract import Head, HeadError, targets_at
from classifiers.normalise import normalise_by_subject, pool_mean
from classifiers.registry import HEADS

__all__ = ["HEADS", "Head", "HeadError", "normalise_by_subject", "pool_mean", "targets_at"]
