"""Fusing the sources of an experiment, whatever they say, and what a reader must know about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from fusion import Combiner
from pipeline import stacking
from pipeline.posteriors import About, PosteriorTable
from pipeline.protocol import Protocol
from pipeline.sections import FusionSpec, Stacking
from pipeline.stacking import FoldRows, FusedFold


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Sources that were fused, whatever they say.

    Attributes:
        spec: How they were fused.
        flags: What a reader must know, each `"<what>: <sentence>"`.
        folds: What the fusion says of the test clips.
        test_subjects: Per outer fold.
        folds_name: What the split is called.
        note: The experiment's own words.
        trained: False if the fusion is a rule that learns nothing.
        abouts: What the sources know about themselves.
        rows: What the fusion learned from and was tested on.
        fuser: Unfitted.
        protocol: Labels or values, subjects and folds.
    """

    spec: FusionSpec
    flags: list[str]
    folds: list[FusedFold]
    test_subjects: list[list[str]]
    folds_name: str
    note: str
    trained: bool
    abouts: list[About]
    rows: list[FoldRows]
    fuser: Combiner
    protocol: Protocol

    @property
    def fused_name(self) -> str:
        """What tables and figures call the fusion."""
        return f"fused ({self.spec.method})"


def fused(
    tables: Sequence[PosteriorTable],
    fuser: Combiner,
    spec: FusionSpec,
    protocol: Protocol,
    note: str = "",
) -> Fused:
    """Fuse some sources.

    Args:
        tables: The sources.
        fuser: An unfitted fuser.
        spec: How they are fused.
        protocol: Labels or values, subjects and folds.
        note: A sentence for the reader.
    """
    rows = stacking.gather(tables, fuser, spec.stacking, protocol, spec.missing)
    folds = stacking.fuse_rows(rows, fuser, protocol)
    return Fused(
        spec=spec,
        flags=_flags(spec, tables, folds, fuser.trainable),
        folds=folds,
        test_subjects=tables[0].about.test_subjects,
        folds_name=tables[0].about.folds,
        note=note,
        trained=fuser.trainable,
        abouts=[table.about for table in tables],
        rows=rows,
        fuser=fuser,
        protocol=protocol,
    )


def beside(
    tables: Sequence[PosteriorTable], made: Fused
) -> tuple[dict[Stacking, list[FusedFold]], list[str]]:
    """Fuse in the other grades that the sources allow; one that cannot be had costs a remark, not the run."""
    found: dict[Stacking, list[FusedFold]] = {}
    remarks = []
    if made.trained:
        for grade in stacking.available(tables):
            if grade != made.spec.stacking:
                try:
                    found[grade] = stacking.fuse(tables, made.fuser, grade, made.protocol, made.spec.missing)
                except AffectstackError as error:
                    remarks.append(f"not beside: {grade} is left out ({error})")
    return found, remarks


def having_any(fold: FusedFold) -> tuple[list[str], NDArray[np.float64]]:
    """Return the clips that have any source, with what the fusion says of them."""
    there = np.flatnonzero(~np.isnan(fold.fused[:, 0]))
    return [fold.clip_ids[i] for i in there], fold.fused[there]


def having(fold: FusedFold, source: int) -> tuple[list[str], NDArray[np.float64]]:
    """Return the clips that a source has, with what it says of them."""
    there = np.flatnonzero(~np.isnan(fold.sources[:, source, 0]))
    return [fold.clip_ids[i] for i in there], fold.sources[there, source]


def _flags(
    spec: FusionSpec, tables: Sequence[PosteriorTable], folds: list[FusedFold], trainable: bool
) -> list[str]:
    flags = []

    def names(on: list[PosteriorTable]) -> str:
        return ", ".join(t.about.source for t in on)

    said = "values" if tables[0].about.attributes else "posteriors"
    if trainable and spec.stacking == "in-sample":
        flags.append(
            f"in-sample: the fusion learned from {said} of the models' own training clips; its figure is "
            "not comparable with honest ones, see the other grades beside it"
        )
    if trainable and spec.stacking == "cross-fitted":
        flags.append(
            f"cross-fitted: the fusion of each fold learned from the other folds' test {said}, whose "
            "models have seen this fold's test subjects"
        )
    if on := [t for t in tables if t.about.transductive]:
        flags.append(
            f"transductive: features of {names(on)} were z-scored per speaker with all clips of that "
            "speaker, test clips included; no labels were used"
        )
    if on := [t for t in tables if t.about.untrained]:
        flags.append(f"untrained: features of {names(on)} come from random weights; they mean little")
    if on := [t for t in tables if t.about.selected_on_test]:
        flags.append(
            f"selected on test: the models of {names(on)} were chosen or stopped by their own test clips, so "
            "every figure that uses them is optimistic"
        )
    if on := [t for t in tables if t.about.claimed]:
        flags.append(
            f"claimed: that the models of {names(on)} had not seen their test subjects is what was said when "
            "they were imported; no file shows it"
        )
    for table in tables:
        if clips := table.about.missing_clips:
            why = "; ".join(table.about.missing_by_reason())
            flags.append(f"missing: {table.about.source} lacks {len(clips)} clips: {why}")
        flags += [f"clips: {table.about.source}: {remark}" for remark in table.about.remarks]
    if lacking := sum(int(np.isnan(f.sources[:, :, 0]).any(axis=1).sum()) for f in folds):
        flags.append(
            f"marginalised: {lacking} clips that some source lacks were fused from the sources that they have"
        )
    if dropped := sorted({c for f in folds for c in f.dropped}):
        shown = ", ".join(dropped[:5]) + (", …" if len(dropped) > 5 else "")
        flags.append(f"dropped: {len(dropped)} clips that some source lacks were left out ({shown})")
    return flags
