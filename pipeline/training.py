"""Training one head on one outer fold, with its inner folds; the unit of work of `train_heads`."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affectstack import AffectstackError, __version__
from classifiers import Head, normalise_by_subject, pool_mean
from manifests import Fold, Manifest
from pipeline.cli import stage
from pipeline.features import FeatureIndex, index_path, load_features, read_index
from pipeline.files import canonical_json, publish, publish_json, read_json
from pipeline.posteriors import NO_INNER, About, ModelNote, PosteriorTable, rows_of, to_parquet
from pipeline.protocol import Protocol
from pipeline.workspace import Workspace, fold_feature


class LeakError(AffectstackError):
    """Something has seen subjects that it is about to be tested on."""


@dataclass(frozen=True)
class HeadData:
    """What a head is trained on.

    Attributes:
        clip_ids: `[N]`, the clips with usable features.
        inputs: N arrays, `[D]` for static heads, `[T_i, D]` for sequence heads.
        labels: `[N]` class names; they know the order of the classes.
        subjects: `[N]`.
        missing: Clips of the manifest without usable features.
        index: The feature.
    """

    clip_ids: list[str]
    inputs: list[NDArray[np.float32]]
    labels: pd.Categorical
    subjects: NDArray[Any]
    missing: list[str]
    index: FeatureIndex


@dataclass(frozen=True)
class FoldJob:
    """One head on one outer fold."""

    head: str
    fold: Fold
    folder: Path
    fingerprint: str


def data_key(workspace: Workspace, head: str, fold: int) -> tuple[str, int | None]:
    """Return which data a head reads on a fold: its own for all of them, or one for each."""
    scoped = workspace.experiment.heads[head].features in workspace.scoped
    return head, fold if scoped else None


def load_data(workspace: Workspace, manifest: Manifest, head: str, fold: int | None = None) -> HeadData:
    """Load what a head reads, pooled and normalised as the experiment says.

    Args:
        workspace: The experiment.
        manifest: Its clips.
        head: The head.
        fold: The outer fold, for features that differ between folds.

    Raises:
        FeatureError: If the feature was not extracted.
        AffectstackError: If no clip has usable features.
    """
    spec = workspace.experiment.heads[head]
    name = spec.features
    if name in workspace.scoped:
        if fold is None:
            raise AffectstackError(
                f"head {head!r}: feature {name!r} is another in every fold, which a sweep does not do"
            )
        name = fold_feature(name, fold)
    index = read_index(workspace, name)
    _refuse_stale(workspace, name)
    labels = manifest.labels(workspace.experiment.label, workspace.classes(manifest))
    subjects = manifest.subjects()
    found = load_features(workspace, index, list(labels.index), spec.views)
    sequence = workspace.head(head).sequence
    clips, inputs = [], []
    for clip_id in labels.index:
        if (features := found.get(clip_id)) is None:
            continue
        rows = features.values[features.valid] if sequence else pool_mean(features.values, features.valid)
        if rows is not None and len(rows):
            clips.append(clip_id)
            inputs.append(rows)
    if not clips:
        raise AffectstackError(
            f"head {head!r}: no clip has a valid row of feature {name!r}; see its failures.csv"
        )
    owners = subjects.loc[clips].to_numpy()
    if spec.speaker_norm:
        inputs = normalise_by_subject(inputs, owners.tolist())
    missing = sorted(set(labels.index) - set(clips))
    named = pd.Categorical(labels.loc[clips], categories=workspace.classes(manifest))
    return HeadData(clips, inputs, named, owners, missing, index)


def _refuse_stale(workspace: Workspace, name: str) -> None:
    """Refuse features of an encoder that was fine-tuned again since."""
    encoder = workspace.tuned_encoder(name)
    if encoder is None:
        return
    note, index = encoder.parent / "fold.json", index_path(workspace, name)
    if not note.is_file() or note.stat().st_mtime > index.stat().st_mtime:
        raise AffectstackError(
            f"feature {name!r} is of an encoder that was fine-tuned anew since; run: "
            + stage("extract all", workspace.file)
        )


def refuse_leaks(index: FeatureIndex, folds: Sequence[Fold], head: str) -> None:
    """Refuse features that have seen a subject they would be tested on.

    Raises:
        LeakError: Naming the subjects and the fold.
    """
    for fold in folds:
        if both := sorted(fold.test & set(index.seen_subjects)):
            raise LeakError(
                f"head {head!r}: feature {index.name!r} has seen subject {', '.join(both[:5])} in training, "
                f"who is a test subject of fold {fold.index}; the result would be optimistic. Use weights "
                "that were trained without the test subjects of each fold"
            )


def refuse_empty_folds(data: HeadData, folds: Sequence[Fold], head: str) -> None:
    """Refuse folds that have nothing to test, before anything is trained.

    Raises:
        AffectstackError: Naming the fold.
    """
    for fold in folds:
        if not set(data.subjects.tolist()) & fold.test:
            raise AffectstackError(
                f"head {head!r}: fold {fold.index} has no test clip with features (subjects "
                f"{', '.join(sorted(fold.test))}); see failures.csv"
            )


def fold_jobs(
    workspace: Workspace, head: str, data: HeadData, folds: Sequence[Fold], classes: Sequence[str]
) -> list[FoldJob]:
    """Return the jobs of a head, each with a fingerprint of all that decides its result."""
    content = hashlib.sha256()
    rows = zip(data.clip_ids, data.labels, data.subjects, data.inputs, strict=True)
    for clip_id, label, subject, values in rows:
        content.update(f"{clip_id}\0{label}\0{subject}\0{values.shape}\n".encode())
        content.update(np.ascontiguousarray(values).tobytes())
    common = {
        "version": __version__,
        "head": workspace.head_identity(head),
        "features": data.index.identity_sha256,
        "seen": data.index.seen_subjects,
        "clips": content.hexdigest(),
        "classes": list(classes),
    }
    jobs = []
    for fold in folds:
        parts = {"test": sorted(fold.test), "inner": [sorted(p) for p in fold.inner]}
        fingerprint = hashlib.sha256(canonical_json({**common, **parts}).encode()).hexdigest()
        folder = workspace.folder / "models" / head / f"fold{fold.index}"
        jobs.append(FoldJob(head, fold, folder, fingerprint))
    return jobs


def is_done(job: FoldJob) -> bool:
    """Tell whether a job's result is there and was made from the same inputs."""
    note = read_json(job.folder / "fold.json")
    return note is not None and note.get("fingerprint") == job.fingerprint and _rows_path(job).is_file()


def train_folds(
    workspace: Workspace, jobs: Sequence[FoldJob], data: HeadData, classes: Sequence[str]
) -> None:
    """Train the models of one or several folds of a head; publish heads, posteriors and notes.

    The head of the whole training part predicts the test clips and, for in-sample stacking, its own
    training clips; one head per inner fold predicts that inner fold's clips ("oof").
    """
    parts = [(job, inner, rows) for job in jobs for inner, rows in _parts(job, data).items()]
    for job, _, rows in parts:
        _refuse_nothing(job, rows)
    heads = [workspace.head(job.head) for job, _, _ in parts]
    every = np.ones(len(data.clip_ids), dtype=np.bool_)
    try:
        type(heads[0]).fit_many(
            heads,
            inputs_of(heads[0], data, every),
            data.labels,
            [np.flatnonzero(rows) for _, _, rows in parts],
            data.subjects.tolist(),
        )
    except AffectstackError as error:
        folds = ", ".join(str(job.fold.index) for job in jobs)
        raise type(error)(f"head {jobs[0].head!r}, fold {folds}: {error}") from error
    for job in jobs:
        own = {inner: head for (of, inner, _), head in zip(parts, heads, strict=True) if of is job}
        _publish_fold(job, data, own, classes)


def _parts(job: FoldJob, data: HeadData) -> dict[int, NDArray[np.bool_]]:
    """Return the clips that each model of a fold learns from, by inner fold."""
    in_train = np.isin(data.subjects, sorted(job.fold.train))
    parts = {NO_INNER: in_train}
    for j, part in enumerate(job.fold.inner):
        held = np.isin(data.subjects, sorted(part))
        if held.any():
            parts[j] = in_train & ~held
    return parts


def _publish_fold(job: FoldJob, data: HeadData, heads: dict[int, Head], classes: Sequence[str]) -> None:
    fold, whole = job.fold, heads[NO_INNER]
    in_test = np.isin(data.subjects, sorted(fold.test))
    parts = _parts(job, data)
    tables = [
        _predict(whole, data, in_test, classes, fold.index, NO_INNER, "test"),
        _predict(whole, data, parts[NO_INNER], classes, fold.index, NO_INNER, "train"),
    ]
    notes = []
    for inner, head in heads.items():
        seen = sorted({*data.subjects[parts[inner]].tolist(), *data.index.seen_subjects})
        notes.append(ModelNote(fold.index, inner, seen, list(getattr(head, "held_out_", []))))
        if inner != NO_INNER:
            held = parts[NO_INNER] & ~parts[inner]
            tables.append(_predict(head, data, held, classes, fold.index, inner, "oof"))
    # Until the new note is there, nothing may pass for finished.
    (job.folder / "fold.json").unlink(missing_ok=True)
    whole.save(job.folder)
    publish(_rows_path(job), to_parquet(pd.concat(tables, ignore_index=True), {"classes": list(classes)}))
    # The note comes last: a job whose note is there is whole.
    publish_json(
        job.folder / "fold.json",
        {"fingerprint": job.fingerprint, "models": [asdict(n) for n in notes]},
    )


def assemble(
    workspace: Workspace,
    head: str,
    data: Sequence[HeadData],
    jobs: Sequence[FoldJob],
    protocol: Protocol,
) -> PosteriorTable:
    """Join the finished folds of a head into its posterior table."""
    rows, models = [], []
    for job in jobs:
        rows.append(pd.read_parquet(_rows_path(job)))
        note = read_json(job.folder / "fold.json") or {}
        models += [ModelNote(**m) for m in note["models"]]
    about = About(
        source=head,
        label=protocol.label,
        classes=list(protocol.classes),
        head=workspace.head_identity(head),
        features={
            "name": workspace.experiment.heads[head].features,
            "identity": data[0].index.identity if len(data) == 1 else [d.index.identity for d in data],
        },
        folds=protocol.folds.name,
        protocol_sha256=protocol.sha256,
        test_subjects=[sorted(f.test) for f in protocol.folds],
        models=models,
        transductive=workspace.experiment.heads[head].speaker_norm,
        untrained=any(d.index.untrained for d in data),
        missing_clips=sorted({clip for d in data for clip in d.missing}),
        selected_on_test=any(d.index.selected_on_test for d in data),
    )
    return PosteriorTable(pd.concat(rows, ignore_index=True), about)


def _rows_path(job: FoldJob) -> Path:
    return job.folder / "posteriors.parquet"


def inputs_of(head: Head, data: HeadData, rows: NDArray[np.bool_]) -> Any:
    """Return the chosen clips as a head wants them."""
    chosen = [data.inputs[i] for i in np.flatnonzero(rows)]
    return chosen if head.sequence else np.stack(chosen)


def fit_head(workspace: Workspace, job: FoldJob, data: HeadData, rows: NDArray[np.bool_]) -> Head:
    """Return a job's head, trained on the chosen clips.

    Raises:
        AffectstackError: If it cannot be trained on them.
    """
    _refuse_nothing(job, rows)
    head = workspace.head(job.head)
    try:
        head.fit(inputs_of(head, data, rows), data.labels[rows], data.subjects[rows].tolist())
    except AffectstackError as error:
        raise type(error)(f"head {job.head!r}, fold {job.fold.index}: {error}") from error
    return head


def _refuse_nothing(job: FoldJob, rows: NDArray[np.bool_]) -> None:
    if not rows.any():
        raise AffectstackError(f"head {job.head!r}: fold {job.fold.index} has no training clips")


def _predict(
    head: Head,
    data: HeadData,
    rows: NDArray[np.bool_],
    classes: Sequence[str],
    outer: int,
    inner: int,
    split: Any,
) -> pd.DataFrame:
    """Predict some clips, with columns in the experiment's class order."""
    clip_ids = [data.clip_ids[i] for i in np.flatnonzero(rows)]
    posteriors = np.zeros((len(clip_ids), len(classes)))
    if clip_ids:
        known = [list(classes).index(c) for c in head.classes_]
        posteriors[:, known] = head.predict_proba(inputs_of(head, data, rows))
    return rows_of(clip_ids, posteriors, classes, outer, inner, split)
