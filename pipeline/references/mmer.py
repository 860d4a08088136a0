"""Luna-Jimenez et al. 2022, doi 10.3390/app12010327, from the files in its authors' repository.

The references are the paper's own (tables of single sources and of fusions) and figures derived from the
same files with scikit-learn (folds, calibration, per-class recalls, tests).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import NDArray

from affectstack import AffectstackError
from classifiers import HEADS
from fusion import FUSERS
from fusion.mmer import MMERFusion
from manifests import Manifest, make_folds
from manifests.ravdess import EMOTIONS
from pipeline.evaluation import Run, fuse_and_score
from pipeline.posteriors import PosteriorTable
from pipeline.posteriors.dialects import DIALECTS
from pipeline.posteriors.importing import bring_in
from pipeline.processes import worker_pool
from pipeline.protocol import Protocol
from pipeline.references.figure import Figure
from pipeline.scoring import Scores
from pipeline.sections import FusionSpec

_POINTS = 0.001  # of accuracy, in %
_CALIBRATION = 0.0001

_FOLDS = {
    "wav2vec2": (85.667, 83.000, 79.000, 82.667, 78.750),
    "bilstm": (66.667, 60.333, 67.333, 59.667, 56.667),
    "mlp80": (61.333, 58.667, 61.000, 64.667, 55.417),
}
_MEANS = {"wav2vec2": (81.817, 81.944), "bilstm": (62.133, 62.361), "mlp80": (60.217, 60.417)}
_UAR = {"wav2vec2": 81.836, "bilstm": 62.435}
_MACRO_F1 = {"wav2vec2": 81.464}
_CALIBRATED = {
    "wav2vec2": (1.0243, 0.3382, 0.1534),
    "bilstm": (1.4388, 0.5929, 0.1884),
    "mlp80": (1.1798, 0.5528, 0.1165),
}
_RECALLS = {
    "wav2vec2": (80.21, 79.17, 77.60, 70.83, 88.02, 82.29, 88.54, 88.02),
    "bilstm": (63.54, 69.79, 84.90, 36.46, 72.92, 48.96, 79.17, 43.75),
    "mlp80": (62.50, 70.83, 74.48, 41.15, 67.71, 51.56, 74.48, 41.67),
}
# The paper's fusion, in-sample: mean of the folds, by scaler; and all clips together for min-max.
_FUSED = {
    ("wav2vec2", "mlp80"): {"minmax": 84.917, "standard": 83.933, "none": 80.733},
    ("wav2vec2", "bilstm"): {"minmax": 85.400, "standard": 85.167, "none": 84.867},
    ("bilstm", "mlp80"): {"minmax": 60.567, "standard": 60.317, "none": 59.700},
    ("wav2vec2", "bilstm", "mlp80"): {"minmax": 86.700, "standard": 86.333, "none": 84.933},
}
_RULES = {"mean": 77.267, "product": 85.717, "max": 82.933}
# The paper's table of classifiers on averaged action units: min-max scaled, and as they are.
_FER: dict[tuple[str, str, Any], tuple[float, float]] = {
    ("svc-plain", "C", 0.1): (53.25, 48.07),
    ("svc-plain", "C", 1.0): (59.93, 54.88),
    ("svc-plain", "C", 10.0): (55.93, 51.65),
    ("knn", "k", 10): (53.10, 46.80),
    ("knn", "k", 20): (54.30, 49.07),
    ("knn", "k", 30): (55.18, 48.82),
    ("knn", "k", 40): (55.40, 50.20),
    ("mlp", "hidden", (80,)): (60.22, 58.93),
    ("mlp", "hidden", (80, 80)): (57.77, 55.82),
}
_FER_SEED = 2020
_FER_TOLERANCE = 0.01
_ALL = ("wav2vec2", "bilstm", "mlp80")
_WHERE = {
    "wav2vec2": ("mmer-wav2vec2", "wav2Vec", "posteriors_test.csv"),
    "bilstm": ("mmer-bilstm", "", "RAVDESS_AUs-val--fold_1_outof_5.csv"),
    "mlp80": ("mmer-static", "avg_MLP80_AUs", "test_fold0.csv"),
}


def figures(data: Path, workers: int) -> Iterator[Figure | str]:
    """Yield every figure that the files allow, and a remark for what they do not.

    Args:
        data: A folder with `ravdess_videos.csv`, `wav2Vec`, `avg_MLP80_AUs` and
            `df_average_AUs_total.csv`, and the BiLSTM's files anywhere below it if they are at hand.
        workers: Processes for the classifiers that are trained anew.
    """
    protocol = _protocol(data)
    tables = {name: table for name in _ALL if (table := _table(data, name, protocol)) is not None}
    if not tables:
        raise AffectstackError(
            f"{data}: no published posteriors of MMER in it; expected wav2Vec, avg_MLP80_AUs"
        )
    if absent := [name for name in _ALL if name not in tables]:
        yield f"not checked, since the files are not there: {', '.join(absent)} and fusions with it"
    for sources, by_scale in _FUSED.items():
        if set(sources) <= set(tables):
            for scale, reference in by_scale.items():
                run = _fused([tables[s] for s in sources], scale, protocol)
                name = f"fusion {'+'.join(sources)} {scale} mean"
                yield Figure(name, 100 * run.fusion.accuracy_mean, reference, _POINTS)
    for name, table in tables.items():
        yield from _of_source(name, _scores(table, protocol))
    if set(_ALL) <= set(tables):
        yield from _of_three([tables[s] for s in _ALL], protocol)
    yield from _fer_table(data / "df_average_AUs_total.csv", protocol, workers)


def _protocol(data: Path) -> Protocol:
    """Make the manifest of the clips that the authors list."""
    try:
        names = (data / "ravdess_videos.csv").read_text(encoding="utf-8").split()
    except OSError as error:
        raise AffectstackError(f"{data}: cannot read ravdess_videos.csv ({error.strerror})") from error
    takes = [name.partition("-")[2] for name in names]
    frame = pd.DataFrame({"clip_id": takes, "subject": [t[-2:] for t in takes]})
    frame["emotion"] = [EMOTIONS[int(t[3:5]) - 1] for t in takes]
    manifest = Manifest(frame, source="ravdess_videos.csv")
    return Protocol.from_manifest(manifest, "emotion", EMOTIONS, make_folds("mmer", manifest))


def _table(data: Path, name: str, protocol: Protocol) -> PosteriorTable | None:
    dialect, folder, sign = _WHERE[name]
    if not next((data / folder).rglob(sign), None):
        return None
    return bring_in(DIALECTS[dialect](data / folder), name, protocol)[0]


def _fused(tables: list[PosteriorTable], scale: str, protocol: Protocol) -> Run:
    spec = FusionSpec(method="mmer", stacking="in-sample")
    return fuse_and_score(tables, MMERFusion(scale=scale), spec, protocol)  # type: ignore[arg-type]  # of the table


def _scores(table: PosteriorTable, protocol: Protocol) -> Scores:
    return fuse_and_score([table], FUSERS["mean"](), FusionSpec(method="mean"), protocol).fusion


def _of_source(name: str, scores: Scores) -> Iterator[Figure]:
    for k, reference in enumerate(_FOLDS[name]):
        yield Figure(f"{name} fold {k}", 100 * scores.accuracy_folds[k], reference, _POINTS)
    mean, pooled = _MEANS[name]
    yield Figure(f"{name} mean", 100 * scores.accuracy_mean, mean, _POINTS)
    yield Figure(f"{name} all clips", 100 * scores.accuracy, pooled, _POINTS)
    if name in _UAR:
        yield Figure(f"{name} UAR", 100 * scores.uar, _UAR[name], _POINTS)
    if name in _MACRO_F1:
        yield Figure(f"{name} macro F1", 100 * scores.macro_f1, _MACRO_F1[name], _POINTS)
    for what, reference in zip(("nll", "brier", "ece"), _CALIBRATED[name], strict=True):
        yield Figure(f"{name} {what}", getattr(scores.calibration, what), reference, _CALIBRATION)
    for emotion, reference in zip(EMOTIONS, _RECALLS[name], strict=True):
        yield Figure(f"{name} recall {emotion}", 100 * scores.recalls[emotion], reference, 0.01)


def _fer_table(file: Path, protocol: Protocol, workers: int) -> Iterator[Figure | str]:
    """Train the paper's classifiers anew.

    The rows stay in the file's order: to an MLP it is one more seed, and moves its accuracy by a point.
    """
    if not file.is_file():
        yield f"not checked, since {file.name} is not there: classifiers on averaged action units"
        return
    table = pd.read_csv(file, sep=";")
    columns = [c for c in table if str(c).startswith("AU")]
    clips = [str(name).partition("-")[2] for name in table["name"]]
    X = table[columns].to_numpy(dtype=np.float64)
    y = pd.Categorical(protocol.labels.loc[clips], categories=protocol.classes)
    subjects = protocol.subjects.loc[clips].to_numpy()
    tests = [np.isin(subjects, sorted(fold.test)) for fold in protocol.folds]
    wanted = [
        (name, option, value, scale, reference)
        for (name, option, value), references in _FER.items()
        for scale, reference in zip(("minmax", "none"), references, strict=True)
    ]
    yield f"classifiers on averaged action units, scikit-learn {sklearn.__version__}:"
    with worker_pool(workers) as pool:
        found = pool.map(_accuracy, *zip(*[(w[:4], X, y, tests) for w in wanted], strict=True))
        for (name, option, value, scale, reference), accuracy in zip(wanted, found, strict=True):
            yield Figure(f"{name} {option}={value} {scale}", 100 * accuracy, reference, _FER_TOLERANCE)


def _accuracy(
    setting: tuple[str, str, Any, str],
    X: NDArray[np.float64],
    y: pd.Categorical,
    tests: list[NDArray[np.bool_]],
) -> float:
    """Return the mean accuracy of a head over the folds."""
    name, option, value, scale = setting
    accuracies = []
    for test in tests:
        head = HEADS[name](**{option: value, "scale": scale, "seed": _FER_SEED})
        head.fit(X[~test], y[~test])
        accuracies.append(float(np.mean(head.predict(X[test]) == y[test])))
    return float(np.mean(accuracies))


def _of_three(tables: list[PosteriorTable], protocol: Protocol) -> Iterator[Figure]:
    """Yield what needs all three sources."""
    run = _fused(tables, "minmax", protocol)
    for what, reference in zip(("nll", "brier", "ece"), (0.4570, 0.2064, 0.0191), strict=True):
        yield Figure(f"fusion of 3 {what}", getattr(run.fusion.calibration, what), reference, _CALIBRATION)
    yield Figure("oracle of 3", 100 * run.oracle, 93.75, 0.01)
    yield Figure("all 3 right", 100 * run.all_right, 42.85, 0.01)
    against = next(p for p in run.pairs if (p.first, p.second) == ("fused", "wav2vec2"))
    yield Figure("fusion of 3 against wav2vec2, only fusion", against.test.first_only, 97, 0)
    yield Figure("fusion of 3 against wav2vec2, only wav2vec2", against.test.second_only, 28, 0)
    for rule, reference in _RULES.items():
        ruled = fuse_and_score(tables, FUSERS[rule](), FusionSpec(method=rule), protocol).fusion
        yield Figure(f"rule of 3 {rule}", 100 * ruled.accuracy_mean, reference, _POINTS)
