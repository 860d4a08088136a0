"""Training one head on one outer fold, with its inner folds; the unit of work of `train_heads`."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affectstack import AffectstackError, __version__
from classifiers import Head, targets_at
from classifiers.framed import FramedHead
from manifests import Fold
from pipeline.degraded import path_of, rows_of_degraded
from pipeline.files import canonical_json, publish, publish_json, read_json
from pipeline.head_data import HeadData, arrays_in, inputs_of
from pipeline.posteriors import NO_INNER, About, ModelNote, PosteriorTable, rows_of, to_parquet
from pipeline.protocol import Protocol
from pipeline.targets import Targets
from pipeline.workspace import Workspace


class LeakError(AffectstackError):
    """Something has seen subjects that it is about to be tested on."""


@dataclass(frozen=True)
class FoldJob:
    """One head on one outer fold."""

    head: str
    fold: Fold
    folder: Path
    fingerprint: str


def refuse_leaks(data: HeadData, folds: Sequence[Fold], head: str) -> None:
    """Refuse features that have seen a subject they would be tested on.

    Raises:
        LeakError: Naming the subjects and the fold.
    """
    for fold, index in product(folds, data.indexes):
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
        if not set(data.subjects[data.labelled].tolist()) & fold.test:
            raise AffectstackError(
                f"head {head!r}: fold {fold.index} has no test clip with features (subjects "
                f"{', '.join(sorted(fold.test))}); see failures.csv"
            )


def fold_jobs(
    workspace: Workspace, head: str, data: HeadData, folds: Sequence[Fold], targets: Targets
) -> list[FoldJob]:
    """Return the jobs of a head, each with a fingerprint of all that decides its result."""
    common = what_decides(workspace, head, data, targets)
    jobs = []
    for fold in folds:
        parts = {"test": sorted(fold.test), "inner": [sorted(p) for p in fold.inner]}
        fingerprint = hashlib.sha256(canonical_json({**common, **parts}).encode()).hexdigest()
        folder = workspace.folder / "models" / head / f"fold{fold.index}"
        jobs.append(FoldJob(head, fold, folder, fingerprint))
    return jobs


def what_decides(workspace: Workspace, head: str, data: HeadData, targets: Targets) -> dict[str, Any]:
    """Return all that decides what a head learns and says, but for the folds; for hashing."""
    content = hashlib.sha256()
    labels = data.labels
    told = labels.to_numpy(np.float64).tolist() if isinstance(labels, pd.DataFrame) else labels
    rows = zip(data.clip_ids, told, data.subjects, data.inputs, strict=True)
    for clip_id, label, subject, values in rows:
        arrays = list(arrays_in(values))
        shapes = "".join(str(array.shape) for array in arrays)
        content.update(f"{clip_id}\0{label}\0{subject}\0{shapes}\n".encode())
        for array in arrays:
            content.update(np.ascontiguousarray(array).tobytes())
    if data.shares is not None:
        content.update(data.shares.tobytes())
    return {
        "version": __version__,
        "head": workspace.head_identity(head),
        "features": _one_or_all([index.identity_sha256 for index in data.indexes]),
        "seen": data.seen_subjects,
        "clips": content.hexdigest(),
        "classes": list(targets.classes),
        **({"attributes": list(targets.attributes)} if targets.attributes else {}),
    }


def is_done(job: FoldJob) -> bool:
    """Tell whether a job's result is there and was made from the same inputs."""
    note = read_json(job.folder / "fold.json")
    if note is None or note.get("fingerprint") != job.fingerprint:
        return False
    return all((job.folder / name).is_file() for name in note.get("files", [_rows_path(job).name]))


def train_folds(workspace: Workspace, jobs: Sequence[FoldJob], data: HeadData, targets: Targets) -> None:
    """Train the models of one or several folds of a head; publish heads, what they say, and notes.

    The head of the whole training part predicts the test clips and, for in-sample stacking, its own
    training clips; one head per inner fold predicts that inner fold's clips ("oof").
    """
    for job, heads in zip(jobs, _fit(workspace, jobs, data), strict=True):
        _publish_fold(workspace, job, data, heads, targets)


def held_out_table(
    workspace: Workspace, jobs: Sequence[FoldJob], data: HeadData, protocol: Protocol
) -> PosteriorTable:
    """Train a head on folds, and return what it says of the clips that its models had not seen.

    Nothing is published, no model is kept, and there are no rows for in-sample stacking.
    """
    rows: list[pd.DataFrame] = []
    models: list[ModelNote] = []
    for job, heads in zip(jobs, _fit(workspace, jobs, data), strict=True):
        rows += _held_out(job, data, heads, protocol.targets)
        models += _notes(job, data, heads)
    return _table(workspace, jobs[0].head, [data], rows, models, protocol)


def _fit(workspace: Workspace, jobs: Sequence[FoldJob], data: HeadData) -> list[dict[int, Head]]:
    """Return the models of each fold, by inner fold."""
    parts = [(job, inner, rows) for job in jobs for inner, rows in _parts(job, data).items()]
    for job, _, rows in parts:
        _refuse_nothing(job, rows)
    heads = [workspace.head(job.head) for job, _, _ in parts]
    every = np.ones(len(data.clip_ids), dtype=np.bool_)
    try:
        type(heads[0]).fit_many(
            heads,
            inputs_of(heads[0], data, every),
            data.targets,
            [np.flatnonzero(rows) for _, _, rows in parts],
            data.subjects.tolist(),
        )
    except AffectstackError as error:
        folds = ", ".join(str(job.fold.index) for job in jobs)
        raise type(error)(f"head {jobs[0].head!r}, fold {folds}: {error}") from error
    return [
        {inner: head for (of, inner, _), head in zip(parts, heads, strict=True) if of is job} for job in jobs
    ]


def _parts(job: FoldJob, data: HeadData) -> dict[int, NDArray[np.bool_]]:
    """Return the clips that each model of a fold learns from, by inner fold.

    Clips without a label are learned from unless they are of a subject that is tested.
    """
    in_train = np.isin(data.subjects, sorted(job.fold.train))
    in_train |= ~data.labelled & ~np.isin(data.subjects, sorted(job.fold.test))
    parts = {NO_INNER: in_train}
    for j, part in enumerate(job.fold.inner):
        held = np.isin(data.subjects, sorted(part))
        if held.any():
            parts[j] = in_train & ~held
    return parts


def _publish_fold(
    workspace: Workspace, job: FoldJob, data: HeadData, heads: dict[int, Head], targets: Targets
) -> None:
    whole, in_train = heads[NO_INNER], _parts(job, data)[NO_INNER] & data.labelled
    tables = _held_out(job, data, heads, targets)
    tables.insert(1, _predict(whole, data, in_train, targets, job.fold.index, NO_INNER, "train"))
    # Until the new note is there, nothing may pass for finished.
    for stale in (job.folder / "fold.json", path_of(job.folder)):
        stale.unlink(missing_ok=True)
    whole.save(job.folder)
    publish(_rows_path(job), to_parquet(pd.concat(tables, ignore_index=True), asdict(targets)))
    _publish_degraded(workspace, job, data, whole, targets)
    # The note comes last: a job whose note is there is whole.
    publish_json(
        job.folder / "fold.json",
        {
            "fingerprint": job.fingerprint,
            "models": [asdict(n) for n in _notes(job, data, heads)],
            "files": [p.name for p in (_rows_path(job), path_of(job.folder)) if p.is_file()],
        },
    )


def _publish_degraded(
    workspace: Workspace, job: FoldJob, data: HeadData, head: Head, targets: Targets
) -> None:
    """Keep what a head says of its test clips where one of its inputs says nothing."""
    if targets.attributes or not (isinstance(head, FramedHead) and head.partial):
        return
    rows = np.flatnonzero(np.isin(data.subjects, sorted(job.fold.test)) & data.labelled).tolist()
    features = workspace.experiment.heads[job.head].feature_names
    table = rows_of_degraded(head, data, rows, features, targets)
    publish(path_of(job.folder), to_parquet(table, asdict(targets)))


def _held_out(job: FoldJob, data: HeadData, heads: dict[int, Head], targets: Targets) -> list[pd.DataFrame]:
    """Return what the models of a fold say of clips that they had not seen: "test" and "oof" rows."""
    fold, parts = job.fold, _parts(job, data)
    in_test = np.isin(data.subjects, sorted(fold.test)) & data.labelled
    tables = [_predict(heads[NO_INNER], data, in_test, targets, fold.index, NO_INNER, "test")]
    for inner, head in heads.items():
        if inner != NO_INNER:
            held = parts[NO_INNER] & ~parts[inner] & data.labelled
            tables.append(_predict(head, data, held, targets, fold.index, inner, "oof"))
    return tables


def _notes(job: FoldJob, data: HeadData, heads: dict[int, Head]) -> list[ModelNote]:
    parts = _parts(job, data)
    seen = {
        inner: sorted({*data.subjects[rows].tolist(), *data.seen_subjects}) for inner, rows in parts.items()
    }
    return [
        ModelNote(
            job.fold.index,
            inner,
            seen[inner],
            list(getattr(head, "held_out_", [])),
            list(getattr(head, "remarks_", [])),
        )
        for inner, head in heads.items()
    ]


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
    return _table(workspace, head, data, rows, models, protocol)


def _table(
    workspace: Workspace,
    head: str,
    data: Sequence[HeadData],
    rows: Sequence[pd.DataFrame],
    models: list[ModelNote],
    protocol: Protocol,
) -> PosteriorTable:
    missing = {clip: why for d in data for clip, why in d.missing.items()}
    of_folds = [f"fold {m.outer_fold}: {r}" for m in models if m.inner_fold == NO_INNER for r in m.remarks]
    about = About(
        source=head,
        label=protocol.label,
        classes=list(protocol.classes),
        head=workspace.head_identity(head),
        features={
            "name": workspace.experiment.heads[head].features,
            "identity": _one_or_all([index.identity for d in data for index in d.indexes]),
        },
        folds=protocol.folds.name,
        protocol_sha256=protocol.sha256,
        test_subjects=[sorted(f.test) for f in protocol.folds],
        models=models,
        transductive=workspace.experiment.heads[head].speaker_norm,
        untrained=any(index.untrained for d in data for index in d.indexes),
        missing_clips=sorted(missing),
        selected_on_test=any(index.selected_on_test for d in data for index in d.indexes),
        why_missing=missing,
        remarks=list(dict.fromkeys([*(remark for d in data for remark in d.remarks), *of_folds])),
        attributes=protocol.attributes,
    )
    return PosteriorTable(pd.concat(rows, ignore_index=True), about)


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _rows_path(job: FoldJob) -> Path:
    return job.folder / "posteriors.parquet"


def fit_head(workspace: Workspace, job: FoldJob, data: HeadData, rows: NDArray[np.bool_]) -> Head:
    """Return a job's head, trained on the chosen clips.

    Raises:
        AffectstackError: If it cannot be trained on them.
    """
    _refuse_nothing(job, rows)
    head = workspace.head(job.head)
    try:
        own = targets_at(data.targets, np.flatnonzero(rows))
        head.fit(inputs_of(head, data, rows), own, data.subjects[rows].tolist())
    except AffectstackError as error:
        raise type(error)(f"head {job.head!r}, fold {job.fold.index}: {error}") from error
    return head


def said_by(head: Head, X: Any, targets: Targets) -> NDArray[np.float64]:
    """Return what a head says of clips, in the experiment's order.

    Returns:
        `[N, K]` posteriors, 0 for classes that the head never saw; or `[N, A]` values.
    """
    if targets.attributes:
        order = [head.attributes_.tolist().index(name) for name in targets.attributes]
        return head.predict_values(X)[:, order]
    posteriors = np.zeros((len(X), len(targets.classes)))
    posteriors[:, [targets.classes.index(c) for c in head.classes_]] = head.predict_proba(X)
    return posteriors


def _refuse_nothing(job: FoldJob, rows: NDArray[np.bool_]) -> None:
    if not rows.any():
        raise AffectstackError(f"head {job.head!r}: fold {job.fold.index} has no training clips")


def _predict(
    head: Head,
    data: HeadData,
    rows: NDArray[np.bool_],
    targets: Targets,
    outer: int,
    inner: int,
    split: Any,
) -> pd.DataFrame:
    """Predict some clips, with columns in the experiment's order."""
    clip_ids = [data.clip_ids[i] for i in np.flatnonzero(rows)]
    said = np.zeros((len(clip_ids), len(targets.names)))
    if clip_ids:
        said = said_by(head, inputs_of(head, data, rows), targets)
    return rows_of(clip_ids, said, targets, outer, inner, split)
