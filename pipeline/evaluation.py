"""Fusing and scoring an experiment, and what a reader must know about the result."""

from dataclasses import dataclass
from typing import Any

from affectstack import __version__
from pipeline import posteriors, stacking
from pipeline.cli import stage
from pipeline.experiment import FusionSpec, Workspace
from pipeline.options import ConfigError
from pipeline.posteriors import PosteriorError, PosteriorTable
from pipeline.scoring import Scores, score
from pipeline.stacking import FusedFold
from pipeline.training import protocol_sha256


@dataclass(frozen=True)
class Run:
    """The result of one fusion.

    Attributes:
        classes: The class order.
        sources: Scores by source.
        fusion: Scores of the fusion.
        honest: Scores of the nested fusion beside an in-sample one, or None.
        spec: How it was fused.
        flags: What a reader must know, each `"<what>: <sentence>"`.
        folds: The fused test posteriors.
        test_subjects: Per outer fold.
        folds_name: What the split is called.
        note: The experiment's own words.
        trained: False if the fusion is a rule that learns nothing.
    """

    classes: list[str]
    sources: dict[str, Scores]
    fusion: Scores
    honest: Scores | None
    spec: FusionSpec
    flags: list[str]
    folds: list[FusedFold]
    test_subjects: list[list[str]]
    folds_name: str
    note: str
    trained: bool

    def metrics(self) -> dict[str, Any]:
        """Return what `metrics.json` holds."""
        out = {
            "classes": self.classes,
            "sources": {name: s.as_json() for name, s in self.sources.items()},
            "fusion": {
                **self.fusion.as_json(),
                "method": self.spec.method,
                "stacking": self.spec.stacking,
                "sources": list(self.sources),
            },
            "folds": {"name": self.folds_name, "test_subjects": self.test_subjects},
            "flags": self.flags,
            "affectstack": __version__,
        }
        if self.honest is not None:
            out["fusion_nested"] = self.honest.as_json()
        return out


def evaluate(workspace: Workspace) -> Run:
    """Fuse and score, without writing anything."""
    experiment = workspace.experiment
    manifest = workspace.manifest()
    classes = workspace.classes(manifest)
    labels = manifest.labels(experiment.label, classes)
    tables = [_read_source(workspace, name) for name in _sources(workspace)]
    protocol = protocol_sha256(manifest, labels, workspace.folds(manifest))
    for table in tables:
        if table.about.protocol_sha256 != protocol:
            raise PosteriorError(
                f"head {table.about.source!r} was trained with other labels, subjects or folds than the "
                "manifest and the experiment name now; run: " + stage("train_heads", workspace.file)
            )
    subjects = manifest.subjects()
    spec = experiment.fusion

    def fused(how: Any) -> list[FusedFold]:
        return stacking.fuse(tables, workspace.fuser(), how, labels, subjects, classes, missing=spec.missing)

    folds = fused(spec.stacking)
    trainable = workspace.fuser().trainable
    honest = None
    if trainable and spec.stacking == "in-sample":
        honest = score([(f.clip_ids, f.fused) for f in fused("nested")], labels, classes)
    sources = {
        table.about.source: score([(f.clip_ids, f.sources[:, i]) for f in folds], labels, classes)
        for i, table in enumerate(tables)
    }
    return Run(
        classes=classes,
        sources=sources,
        fusion=score([(f.clip_ids, f.fused) for f in folds], labels, classes),
        honest=honest,
        spec=spec,
        flags=_flags(workspace, tables, folds, trainable),
        folds=folds,
        test_subjects=tables[0].about.test_subjects,
        folds_name=tables[0].about.folds,
        note=experiment.note,
        trained=trainable,
    )


def _sources(workspace: Workspace) -> list[str]:
    names = workspace.sources()
    if not names:
        raise ConfigError(f"{workspace.file.name} has no heads to fuse; add some under `heads:`")
    return names


def _read_source(workspace: Workspace, name: str) -> PosteriorTable:
    path = workspace.folder / "posteriors" / f"{name}.parquet"
    command = f"run: {stage('train_heads', workspace.file)}"
    if not path.is_file():
        raise PosteriorError(f"head {name!r} was not trained yet; {command}")
    table = posteriors.read(path)
    spec = workspace.head_identity(name)
    if table.about.head != spec:
        changed = sorted(k for k in {*spec, *table.about.head} if spec.get(k) != table.about.head.get(k))
        what = ", ".join(f"{k}: {table.about.head.get(k)!r} -> {spec.get(k)!r}" for k in changed)
        raise PosteriorError(f"head {name!r} was trained with other settings ({what}); {command}")
    if table.about.label != workspace.experiment.label:
        raise PosteriorError(f"head {name!r} was trained for label {table.about.label!r}; {command}")
    return table


def _flags(
    workspace: Workspace, tables: list[PosteriorTable], folds: list[FusedFold], trainable: bool
) -> list[str]:
    flags = []
    spec = workspace.experiment.fusion

    def names(on: list[PosteriorTable]) -> str:
        return ", ".join(t.about.source for t in on)

    if trainable and spec.stacking == "in-sample":
        flags.append(
            "in-sample: the fusion learned from posteriors of the models' own training clips; its figure is "
            "not comparable with honest ones, see the nested figure beside it"
        )
    if trainable and spec.stacking == "cross-fitted":
        flags.append(
            "cross-fitted: the fusion of each fold learned from the other folds' test posteriors, whose "
            "models have seen this fold's test subjects"
        )
    if on := [t for t in tables if t.about.transductive]:
        flags.append(
            f"transductive: features of {names(on)} were z-scored per speaker with all clips of that "
            "speaker, test clips included; no labels were used"
        )
    if on := [t for t in tables if t.about.untrained]:
        flags.append(f"untrained: features of {names(on)} come from random weights; they mean little")
    if on := [t for t in tables if t.about.missing_clips]:
        most = max(len(t.about.missing_clips) for t in on)
        flags.append(f"missing: {names(on)} lack features of up to {most} clips; see failures.csv")
    if dropped := sorted({c for f in folds for c in f.dropped}):
        shown = ", ".join(dropped[:5]) + (", …" if len(dropped) > 5 else "")
        flags.append(f"dropped: {len(dropped)} clips that some source lacks were left out ({shown})")
    return flags
