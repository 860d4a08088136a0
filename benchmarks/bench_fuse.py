"""Fusion: logpool against scikit-learn's stacking; importing, fusing and all statistics against a sweep."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier
from turns import compare

from fusion.logpool import LogPool
from manifests import Manifest, make_folds
from manifests.ravdess import EMOTIONS
from pipeline.evaluation import fuse_and_score
from pipeline.posteriors.dialects import DIALECTS
from pipeline.posteriors.importing import bring_in
from pipeline.protocol import Protocol
from pipeline.sections import FusionSpec

_MODELS = (
    SVC(), LogisticRegression(max_iter=10000), RidgeClassifier(), Perceptron(), NuSVC(nu=0.3),
    LinearSVC(max_iter=10000), KNeighborsClassifier(20), NearestCentroid(), DecisionTreeClassifier(),
    RandomForestClassifier(200), MLPClassifier((80,)),
)  # fmt: skip


def pool() -> None:
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


def whole_road(folder: Path) -> None:
    """Bring in two systems of 1,440 clips and five folds, fuse them, work out every statistic."""
    rng = np.random.default_rng(0)
    takes = [f"01-{1 + i % 8:02d}-01-01-{i // 8 % 2 + 1:02d}-{1 + i // 60:02d}" for i in range(1440)]
    takes = [f"{t[:9]}{1 + i // 8 % 8:02d}{t[11:]}" for i, t in enumerate(takes)]
    frame = pd.DataFrame({"clip_id": takes, "subject": [t[-2:] for t in takes]})
    frame["emotion"] = [EMOTIONS[int(t[3:5]) - 1] for t in takes]
    manifest = Manifest(frame)
    protocol = Protocol.from_manifest(manifest, "emotion", EMOTIONS, make_folds("mmer", manifest))
    truth = np.array([int(t[3:5]) - 1 for t in takes])
    for system in ("a", "b"):
        (folder / system).mkdir()
        for fold in protocol.folds:
            for split, subjects in (("test", fold.test), ("train", fold.train)):
                rows = np.flatnonzero(frame["subject"].isin(subjects))
                _write(
                    folder / system / f"{split}_fold{fold.index}.csv",
                    rng,
                    truth[rows],
                    frame["clip_id"][rows],
                )

    def ours() -> None:
        tables = [bring_in(DIALECTS["mmer-static"](folder / s), s, protocol)[0] for s in ("a", "b")]
        fuse_and_score(tables, LogPool(), FusionSpec(stacking="cross-fitted"), protocol)

    features = rng.random((1440, 35)) + 0.1 * rng.random((8, 35))[truth]
    tests = [frame["subject"].isin(fold.test).to_numpy() for fold in protocol.folds]

    def sweep() -> None:
        for model in _MODELS:
            for test in tests:
                model.fit(features[~test], truth[~test]).predict(features[test])

    compare(
        "import 2 systems, fuse, all statistics; against scikit-learn's sweep of eleven models",
        ours,
        sweep,
        rounds=2,
    )


def _write(path: Path, rng: np.random.Generator, y: NDArray[np.int64], clips: pd.Series) -> None:
    logits = rng.normal(size=(len(y), 8)) + 1.5 * np.eye(8)[y]
    values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame(values, columns=[f"embs{i}" for i in range(8)])
    table["video_name"] = [f"01-{c}" for c in clips]
    table.to_csv(path, sep=";", index=False)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    pool()
    with tempfile.TemporaryDirectory() as place:
        whole_road(Path(place))
