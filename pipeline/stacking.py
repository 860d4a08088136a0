"""Fusing posteriors under the leak rule.

Three grades: *nested* (the fuser of an outer fold learns from inner-fold rows, whose models had seen neither
the row's subject nor the test subjects), *cross-fitted* (it learns from the other outer folds' test rows,
whose models have seen this fold's test subjects) and *in-sample* (it learns from the models' own training
rows, which is what many papers do, and too optimistic about every source).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from affectstack import AffectstackError
from fusion import Fuser, FusionError, Joined, Source, join
from pipeline.experiment import Stacking
from pipeline.posteriors import NO_INNER, PosteriorTable, Split
from pipeline.training import LeakError


@dataclass(frozen=True)
class FusedFold:
    """The test posteriors of one outer fold.

    Attributes:
        clip_ids: `[N]`.
        fused: `[N, K]`.
        sources: `[N, S, K]`, what was fused.
        dropped: Clips that some source lacked.
    """

    clip_ids: list[str]
    fused: NDArray[np.float64]
    sources: NDArray[np.float64]
    dropped: list[str]


def fuse(
    tables: Sequence[PosteriorTable],
    fuser: Fuser,
    stacking: Stacking,
    labels: pd.Series,
    subjects: pd.Series,
    classes: Sequence[str],
    missing: str = "error",
) -> list[FusedFold]:
    """Fuse the sources of every outer fold.

    Args:
        tables: The sources.
        fuser: An unfitted fuser; a copy is fitted per fold.
        stacking: Which rows it learns from.
        labels: Class names by clip id.
        subjects: Subjects by clip id.
        classes: The class order of the result.
        missing: "error" or "drop", for clips that not every source has.

    Raises:
        FusionError: If sources differ in classes, clips or folds.
        LeakError: If a row that should be unseen was made by a model that had seen its subject.
    """
    _same_folds(tables)
    folds = range(len(tables[0].about.test_subjects))
    for table in tables:
        for k in folds:
            _refuse_seen(table, "test", k, subjects)
    test = [_join(tables, "test", k, classes, missing) for k in folds]
    number = {c: i for i, c in enumerate(classes)}
    out = []
    for k in folds:
        fitted = clone(fuser)
        if fuser.trainable:
            rows = _training_rows(tables, stacking, k, test, subjects, classes, missing)
            y = np.array([number[labels.loc[c]] for c in rows.clip_ids])
            fitted.fit(rows.posteriors, y)
        joined = test[k]
        out.append(
            FusedFold(
                joined.clip_ids, fitted.predict_proba(joined.posteriors), joined.posteriors, joined.dropped
            )
        )
    return out


def _training_rows(
    tables: Sequence[PosteriorTable],
    stacking: Stacking,
    fold: int,
    test: Sequence[Joined],
    subjects: pd.Series,
    classes: Sequence[str],
    missing: str,
) -> Joined:
    if stacking == "cross-fitted":
        others = [t for i, t in enumerate(test) if i != fold]
        if not others:
            raise FusionError("fusion: cross-fitted stacking needs at least 2 outer folds")
        return Joined(
            [c for t in others for c in t.clip_ids],
            np.concatenate([t.posteriors for t in others]),
            [],
        )
    split: Split = "oof" if stacking == "nested" else "train"
    for table in tables:
        if split == "oof":
            _refuse_seen(table, split, fold, subjects)
        if not table.part(split, fold)[0]:
            raise FusionError(
                f"fusion: source {table.about.source!r} has no {split} rows for fold {fold}, which "
                f"{stacking} stacking learns from. Write `fusion: {{stacking: cross-fitted}}`, or a method "
                "that learns nothing, like product"
            )
    return _join(tables, split, fold, classes, missing)


def _join(
    tables: Sequence[PosteriorTable], split: Split, fold: int, classes: Sequence[str], missing: str
) -> Joined:
    sources = []
    for table in tables:
        clips, posteriors = table.part(split, fold)
        sources.append(Source(table.about.source, clips, table.about.classes, posteriors))
    return join(sources, classes, "drop" if missing == "drop" else "error")


def _same_folds(tables: Sequence[PosteriorTable]) -> None:
    if not tables:
        raise FusionError("fusion: no sources")
    first = tables[0].about
    for table in tables[1:]:
        if table.about.test_subjects != first.test_subjects:
            raise FusionError(
                f"fusion: sources {first.source!r} ({first.folds}) and {table.about.source!r} "
                f"({table.about.folds}) were tested on different folds; train them again on the same"
            )


def _refuse_seen(table: PosteriorTable, split: Split, fold: int, subjects: pd.Series) -> None:
    """Refuse rows of subjects that their own model had seen."""
    seen = {m.inner_fold: set(m.seen_subjects) for m in table.about.models if m.outer_fold == fold}
    for clip_id, inner in table.seen_by(split, fold).itertuples(index=False):
        model = seen.get(inner if split == "oof" else NO_INNER)
        if model is None:
            raise AffectstackError(
                f"posteriors of {table.about.source!r}: nothing is known about the model of fold {fold}, "
                f"inner fold {inner}; without its training subjects they cannot be fused honestly"
            )
        subject = subjects.get(clip_id)
        if subject is None:
            raise FusionError(
                f"fusion: source {table.about.source!r} has clip {clip_id!r}, unknown to the manifest"
            )
        if split == "oof" and (tested := model & set(table.about.test_subjects[fold])):
            raise LeakError(
                f"posteriors of {table.about.source!r}: the model of inner fold {inner} had seen subject "
                f"{min(tested)}, a test subject of fold {fold}; this is not nested"
            )
        if subject in model:
            raise LeakError(
                f"posteriors of {table.about.source!r}: clip {clip_id} is a {split} row of fold {fold}, but "
                f"its model had seen subject {subject}; the result would be optimistic"
            )
