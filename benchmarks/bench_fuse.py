"""Fusion: logpool against logistic stacking by scikit-learn, 1,140 rows of 3 sources and 8 classes."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from turns import compare

from fusion.logpool import LogPool


def main() -> None:
    """Measure one fit and one prediction."""
    rng = np.random.default_rng(0)
    y = np.arange(1140) % 8
    logits = rng.normal(size=(1140, 3, 8)) + 1.5 * np.eye(8)[y][:, None]
    posteriors = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    columns = np.log(posteriors).reshape(1140, 24)

    def baseline() -> object:
        return LogisticRegression(max_iter=10000).fit(columns, y).predict_proba(columns)

    compare(
        "fuse 3 sources, fit and predict",
        lambda: LogPool().fit(posteriors, y).predict_proba(posteriors),
        baseline,
        rounds=9,
    )


if __name__ == "__main__":
    main()
