"""Heads: the calibrated support vectors against scikit-learn's, on the width of ComParE."""

import warnings

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from turns import compare

from classifiers.svc import SVCHead

CLIPS, COLUMNS, CLASSES, SUBJECTS = 570, 6373, 8, 19


def main() -> None:
    """Measure one fit with posteriors, and prediction of a fold."""
    rng = np.random.default_rng(0)
    y = np.arange(CLIPS) % CLASSES
    x = rng.normal(size=(CLIPS, COLUMNS)) + rng.normal(size=(CLASSES, COLUMNS))[y]
    names = [f"class{i}" for i in y]
    groups = [f"s{i % SUBJECTS}" for i in range(CLIPS)]
    new = x[:300] + rng.normal(size=(300, COLUMNS))
    ours = SVCHead(C=10, gamma=1e-4)
    theirs = make_pipeline(StandardScaler(), SVC(C=10, gamma=1e-4, probability=True, random_state=0))
    compare(
        "svc with posteriors, 570 x 6,373, fit",
        lambda: ours.fit(x, names, groups),
        lambda: theirs.fit(x, names),
        rounds=2,
    )
    compare(
        "svc with posteriors, 300 clips, predict",
        lambda: ours.predict_proba(new),
        lambda: theirs.predict_proba(new),
        rounds=2,
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
