"""Fusing posteriors, or values, under the leak rule.

Three grades: *nested* (the fuser of an outer fold learns from inner-fold rows, whose models had seen neither
the row's subject nor the test subjects), *cross-fitted* (it learns from the other outer folds' test rows,
whose models have seen this fold's test subjects) and *in-sample* (it learns from the models' own training
rows, which is what many papers do, and too optimistic about every source).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from fusion import Combiner, FusionError, Joined, Missing, Source, join
from pipeline.posteriors import NO_INNER, PosteriorTable, Split
from pipeline.protocol import Protocol
from pipeline.sections import Stacking
from pipeline.training import LeakError


@dataclass(frozen=True)
class FoldRows:
    """What the fusion of one outer fold learns from and is tested on.

    Attributes:
        train: The rows that it learns from; None for rules, which learn nothing.
        test: The test rows, as the fuser wants them.
        posteriors: `[N, S, K]`, the test rows as posteriors, which is what most fusers want.
    """

    train: Joined | None
    test: Joined
    posteriors: NDArray[np.float64]

    def of(self, sources: Sequence[int]) -> "FoldRows":
        """Return the same rows as if only some of the sources were there."""
        others = [s for s in range(self.posteriors.shape[1]) if s not in sources]
        return FoldRows(
            None if self.train is None else _without(self.train, others),
            _without(self.test, others),
            self.posteriors,
        )


@dataclass(frozen=True)
class FusedFold:
    """The test posteriors of one outer fold.

    Attributes:
        clip_ids: `[N]`.
        fused: `[N, K]`; NaN for a clip that has none of the sources.
        sources: `[N, S, K]`, what was fused; NaN where a source lacks a clip.
        dropped: Clips that some source lacked.
        fitted: The fuser of all sources, if a clip has them all.
    """

    clip_ids: list[str]
    fused: NDArray[np.float64]
    sources: NDArray[np.float64]
    dropped: list[str]
    fitted: Combiner | None = None


def fuse(
    tables: Sequence[PosteriorTable],
    fuser: Combiner,
    stacking: Stacking,
    protocol: Protocol,
    missing: Missing = "error",
) -> list[FusedFold]:
    """Fuse the sources of every outer fold.

    Args:
        tables: The sources.
        fuser: An unfitted fuser; copies are fitted per fold.
        stacking: Which rows it learns from.
        protocol: Labels, subjects, and the class order of the result.
        missing: See `fusion.join`.

    Raises:
        FusionError: If sources differ in classes, clips or folds.
        LeakError: If a row that should be unseen was made by a model that had seen its subject.
    """
    return fuse_rows(gather(tables, fuser, stacking, protocol, missing), fuser, protocol)


def gather(
    tables: Sequence[PosteriorTable],
    fuser: Combiner,
    stacking: Stacking,
    protocol: Protocol,
    missing: Missing = "error",
) -> list[FoldRows]:
    """Return what each outer fold learns from and is tested on, once the leak rule has looked at it.

    Arguments and errors are those of `fuse`.
    """
    _same_folds(tables)
    fuser.check(len(tables))
    folds = range(len(tables[0].about.test_subjects))
    for table in tables:
        for k in folds:
            _refuse_seen(table, "test", k, protocol)
    test = [_join(tables, "test", k, protocol, missing, fuser.raw) for k in folds]
    plain = [_join(tables, "test", k, protocol, missing, False) for k in folds] if fuser.raw else test
    train: list[Joined | None] = [None for _ in folds]
    if fuser.trainable:
        train = [_training_rows(tables, stacking, k, test, protocol, missing, fuser.raw) for k in folds]
    return [FoldRows(train[k], test[k], plain[k].posteriors) for k in folds]


def fuse_rows(rows: Sequence[FoldRows], fuser: Combiner, protocol: Protocol) -> list[FusedFold]:
    """Fuse what `gather` returned.

    Where a clip lacks sources, a fuser of those that it has is fitted on the training rows that have them.

    Raises:
        FusionError: If no training row has the sources that some clip has.
    """
    names = protocol.targets.names
    out = []
    for k, fold in enumerate(rows):
        fused = np.full((len(fold.test.clip_ids), len(names)), np.nan)
        whole = None
        for there, at in _patterns(fold.test.posteriors):
            if not there:
                continue
            fitted = fuser.of(there)
            if fold.train is not None:
                usable = np.flatnonzero(~np.isnan(fold.train.posteriors[:, there, 0]).any(axis=1))
                clips = [fold.train.clip_ids[i] for i in usable]
                if not clips:
                    wanted = ", ".join(fold.test.names[s] for s in there)
                    raise FusionError(f"fusion: no training row of fold {k} has all of {wanted}")
                owners = protocol.subjects.loc[clips].tolist()
                fitted.fit(fold.train.posteriors[usable][:, there], protocol.truth(clips), owners)
            fused[at] = fitted.combine(fold.test.posteriors[at][:, there])
            whole = fitted if len(there) == fold.test.posteriors.shape[1] else whole
        out.append(FusedFold(fold.test.clip_ids, fused, fold.posteriors, fold.test.dropped, whole))
    return out


def _without(rows: Joined, sources: Sequence[int]) -> Joined:
    posteriors = rows.posteriors.copy()
    posteriors[:, sources] = np.nan
    return replace(rows, posteriors=posteriors)


def fit_on_all(tables: Sequence[PosteriorTable], fuser: Combiner, protocol: Protocol) -> Combiner:
    """Fit a fuser for clips from outside the experiment, which no fold tests.

    It learns from the test rows of all folds that all of its sources have; the model of each row had not seen
    its subject.

    Args:
        tables: Its sources.
        fuser: Unfitted; rules stay as they are.
        protocol: Labels, subjects, and the class order of the result.

    Raises:
        FusionError: If sources differ in classes or folds, or no clip has all of them.
        LeakError: If a row was made by a model that had seen its subject.
    """
    _same_folds(tables)
    if not fuser.trainable:
        return fuser
    parts = []
    for k in range(len(tables[0].about.test_subjects)):
        for table in tables:
            _refuse_seen(table, "test", k, protocol)
        parts.append(_join(tables, "test", k, protocol, "drop", fuser.raw))
    clips = [clip for part in parts for clip in part.clip_ids]
    rows = np.concatenate([part.posteriors for part in parts])
    return fuser.fit(rows, protocol.truth(clips), protocol.subjects.loc[clips].tolist())


def available(tables: Sequence[PosteriorTable]) -> list[Stacking]:
    """Return the grades that the rows of these sources allow."""
    folds = range(len(tables[0].about.test_subjects))

    def has(split: Split) -> bool:
        return all(table.part(split, k)[0] for table in tables for k in folds)

    allowed = {"nested": has("oof"), "cross-fitted": len(folds) > 1, "in-sample": has("train")}
    return [grade for grade in get_args(Stacking) if allowed[grade]]


def _patterns(posteriors: NDArray[np.float64]) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Yield the sets of sources that clips have, each with the clips that have just these."""
    there = ~np.isnan(posteriors[:, :, 0])
    kinds, which = np.unique(there, axis=0, return_inverse=True)
    for i, kind in enumerate(kinds):
        yield np.flatnonzero(kind).tolist(), np.flatnonzero(which.reshape(-1) == i)


def _training_rows(
    tables: Sequence[PosteriorTable],
    stacking: Stacking,
    fold: int,
    test: Sequence[Joined],
    protocol: Protocol,
    missing: Missing,
    raw: bool,
) -> Joined:
    if stacking == "cross-fitted":
        others = [t for i, t in enumerate(test) if i != fold]
        if not others:
            raise FusionError("fusion: cross-fitted stacking needs at least 2 outer folds")
        return Joined(
            [c for t in others for c in t.clip_ids],
            np.concatenate([t.posteriors for t in others]),
            [],
            others[0].names,
        )
    split: Split = "oof" if stacking == "nested" else "train"
    for table in tables:
        if split == "oof":
            _refuse_seen(table, split, fold, protocol)
        if not table.part(split, fold)[0]:
            raise FusionError(
                f"fusion: source {table.about.source!r} has no {split} rows for fold {fold}, which "
                f"{stacking} stacking learns from. Write `fusion: {{stacking: cross-fitted}}`, or a method "
                "that learns nothing, like product"
            )
    return _join(tables, split, fold, protocol, missing, raw)


def _join(
    tables: Sequence[PosteriorTable], split: Split, fold: int, protocol: Protocol, missing: Missing, raw: bool
) -> Joined:
    sources = []
    for table in tables:
        clips, posteriors = table.part(split, fold, raw=raw)
        sources.append(Source(table.about.source, clips, table.about.targets.names, posteriors))
    return join(sources, protocol.targets.names, missing)


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


def _refuse_seen(table: PosteriorTable, split: Split, fold: int, protocol: Protocol) -> None:
    """Refuse rows of subjects that their own model had seen."""
    seen = {m.inner_fold: set(m.seen_subjects) for m in table.about.models if m.outer_fold == fold}
    for clip_id, inner in table.seen_by(split, fold).itertuples(index=False):
        model = seen.get(inner if split == "oof" else NO_INNER)
        if model is None:
            raise AffectstackError(
                f"posteriors of {table.about.source!r}: nothing is known about the model of fold {fold}, "
                f"inner fold {inner}; without its training subjects they cannot be fused honestly"
            )
        subject = protocol.subjects.get(clip_id)
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
