"""The report: everything that is worked out and drawn, and the pool that is fitted for every subset."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from turns import best, compare, say

from fusion import FUSERS
from fusion.contract import log_posteriors
from manifests import Manifest, make_folds
from pipeline import report
from pipeline.cli import quieten
from pipeline.duplicates import Duplicates
from pipeline.evaluation import fuse_and_score
from pipeline.experiment import parse
from pipeline.history import Stopwatch
from pipeline.posteriors import NO_INNER, About, ModelNote, PosteriorTable, rows_of
from pipeline.protocol import Protocol
from pipeline.sections import FusionSpec
from pipeline.subsets import measure, subsets_of
from pipeline.workspace import Workspace

SUBJECTS, EACH, CLASSES, SOURCES = 24, 60, 8, 6
ASKED = 10.0  # seconds for a report on that many clips and sources


def made(truth: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return posteriors that are right about six times in ten."""
    logits = rng.normal(size=(len(truth), CLASSES)) + 2 * np.eye(CLASSES)[truth]
    shares = np.exp(logits)
    posteriors: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return posteriors


def corpus() -> Manifest:
    """Return a manifest like that of RAVDESS speech."""
    return Manifest(
        pd.DataFrame(
            [
                {"clip_id": f"{s:02}-{i:02}", "subject": f"{s:02}", "emotion": f"class{i % CLASSES}"}
                for s in range(SUBJECTS)
                for i in range(EACH)
            ]
        )
    )


def source(name: str, protocol: Protocol, rng: np.random.Generator) -> PosteriorTable:
    """Return a source with test, inner and training rows of every fold."""
    clips, owners = protocol.labels.index.to_numpy(dtype=str), protocol.subjects.to_numpy(dtype=str)
    truth = np.array([protocol.classes.index(label) for label in protocol.labels])
    parts, models = [], []
    for fold in protocol.folds:
        everyone = sorted(fold.train)
        models.append(ModelNote(fold.index, NO_INNER, everyone))
        wanted = [("test", NO_INNER, fold.test), ("train", NO_INNER, fold.train)]
        for j, part in enumerate(fold.inner):
            models.append(ModelNote(fold.index, j, sorted(set(everyone) - part)))
            wanted.append(("oof", j, part))
        for split, inner, subjects in wanted:
            at = np.isin(owners, sorted(subjects))
            parts.append(
                rows_of(clips[at].tolist(), made(truth[at], rng), protocol.targets, fold.index, inner, split)  # type: ignore[arg-type]
            )
    about = About(
        source=name, label="emotion", classes=protocol.classes, head={"head": "bench"}, features={},
        folds=protocol.folds.name, protocol_sha256=protocol.sha256,
        test_subjects=[sorted(f.test) for f in protocol.folds], models=models, transductive=False,
        untrained=False, missing_clips=[],
    )  # fmt: skip
    return PosteriorTable(pd.concat(parts, ignore_index=True), about)


def plain_pool(P: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fit the same pool as one would write it down."""
    logs = log_posteriors(P)
    rows, sources, classes = logs.shape
    truth, centre = np.eye(classes)[y], np.concatenate([np.ones(sources), np.zeros(classes)])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_p = log_softmax(np.einsum("s,nsk->nk", parameters[:sources], logs) + parameters[sources:], axis=1)
        excess = np.exp(log_p) - truth
        gradient = np.concatenate([np.einsum("nk,nsk->s", excess, logs), excess.sum(axis=0)])
        away = parameters - centre
        value = -(log_p * truth).sum() + (away**2).sum()
        return value / rows, (gradient + 2 * away) / rows

    bounds = [(0.0, None)] * sources + [(None, None)] * classes
    fitted: NDArray[np.float64] = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
    return fitted


def main() -> None:
    """Measure everything."""
    rng = np.random.default_rng(0)
    manifest = corpus()
    folds = make_folds({"by": "subject", "k": 5, "seed": 0}, manifest, 4)
    classes = [f"class{k}" for k in range(CLASSES)]
    protocol = Protocol.from_manifest(manifest, "emotion", classes, folds)
    tables = [source(f"source{s}", protocol, rng) for s in range(SOURCES)]
    truth = np.array([classes.index(label) for label in protocol.labels])
    P = np.stack([made(truth, rng) for _ in range(SOURCES)], axis=1)
    pool = FUSERS["logpool"]()
    compare(
        f"report: a pool of {SOURCES} sources on {len(truth):,} clips",
        lambda: pool.fit(P, truth),
        lambda: plain_pool(P, truth),
        rounds=9,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest.write_csv(folder / "manifest.csv")
        (folder / "experiment.yaml").touch()
        workspace = Workspace(parse({"label": "emotion"}, "bench"), folder, folder / "experiment.yaml")

        def whole() -> int:
            run = fuse_and_score(tables, FUSERS["logpool"](), FusionSpec(), protocol)
            subsets = list(measure(run, subsets_of(list(run.sources))))
            findings = report.Findings(run, subsets, Duplicates([], len(manifest), 0, reason="no media"))
            return len(findings.render(workspace, folder, Stopwatch.start().entry(None)))

        size = whole()
        title = f"report: {len(manifest):,} clips, {SOURCES} sources, {2**SOURCES - 1} subsets"
        say(f"{title}, against what was asked", best(whole, rounds=3), ASKED)
        say(f"{title}, its size against what was asked", size / 1e6, 3.0, "MB")


if __name__ == "__main__":
    quieten()
    main()
