"""Arrays in, posteriors out: one head per file."""

from classifiers import bilstm, logistic, mlp, svc  # noqa: F401  # register
from classifiers.contract import Head, HeadError
from classifiers.normalise import normalise_by_subject, pool_mean
from classifiers.registry import HEADS

__all__ = ["HEADS", "Head", "HeadError", "normalise_by_subject", "pool_mean"]
