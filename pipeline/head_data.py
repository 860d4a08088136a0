"""What a head is trained on: features of the store, pooled, joined and normalised as the experiment says."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affectstack import AffectstackError
from classifiers import Frames, Head, SoftLabels, normalise_by_subject, pool_mean
from extractors import Features
from manifests import Manifest
from pipeline.cli import stage
from pipeline.features import FeatureError, FeatureIndex, index_path, load_features, read_index
from pipeline.joining import JoinError, side_by_side
from pipeline.sections import HeadSpec
from pipeline.timing import at_rate, cut
from pipeline.workspace import Workspace, fold_feature

Array = NDArray[np.float32]
Part = Array | Frames | None
Input = Array | tuple[Part, ...]


@dataclass(frozen=True)
class HeadData:
    """What a head is trained on.

    Attributes:
        clip_ids: `[N]`, the clips with usable features.
        inputs: N arrays, `[D]` for static heads, `[T_i, D]` for sequence heads; or N tuples, of an entry for
            each input of a head that has several.
        labels: `[N]` class names, which know the order of the classes; or `[N, A]` values. NaN of a clip
            without a label, which a head may learn from and is never tested on.
        subjects: `[N]`.
        missing: Labelled clips of the manifest without usable features, and why.
        indexes: The features.
        remarks: What a reader must know of the clips, one sentence each.
        shares: `[N, K]`, the shares of votes that the head is to learn; None: it learns the labels.
    """

    clip_ids: list[str]
    inputs: list[Input]
    labels: pd.Categorical | pd.DataFrame
    subjects: NDArray[Any]
    missing: dict[str, str]
    indexes: list[FeatureIndex]
    remarks: list[str] = field(default_factory=list)
    shares: NDArray[np.float64] | None = None

    @property
    def targets(self) -> pd.Categorical | pd.DataFrame | SoftLabels:
        """What a head is to learn, `[N]`."""
        if self.shares is None or isinstance(self.labels, pd.DataFrame):
            return self.labels
        return SoftLabels(self.labels, self.shares)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """`[N]`, which clips have a label."""
        if isinstance(self.labels, pd.DataFrame):
            return self.labels.notna().all(axis=1).to_numpy()
        return np.asarray(self.labels.codes >= 0)

    @property
    def seen_subjects(self) -> list[str]:
        """Subjects that any of the features has seen."""
        return sorted({subject for index in self.indexes for subject in index.seen_subjects})


def data_key(workspace: Workspace, head: str, fold: int) -> tuple[str, int | None]:
    """Return which data a head reads on a fold: its own for all of them, or one for each."""
    scoped = workspace.scoped & set(workspace.experiment.heads[head].feature_names)
    return head, fold if scoped else None


def load_data(workspace: Workspace, manifest: Manifest, head: str, fold: int | None = None) -> HeadData:
    """Load what a head reads, pooled and normalised as the experiment says.

    Args:
        workspace: The experiment.
        manifest: Its clips.
        head: The head.
        fold: The outer fold, for features that differ between folds.

    Raises:
        FeatureError: If a feature was not extracted, or features cannot be joined.
        AffectstackError: If no clip has usable features.
    """
    spec, model = workspace.experiment.heads[head], workspace.head(head)
    labels = _labels(workspace, manifest)
    subjects = manifest.subjects()
    more = workspace.unlabelled() if model.learns_unlabelled else None
    if more is not None:
        labels = labels.reindex([*labels.index, *more.subjects().index])
        subjects = pd.concat([subjects, more.subjects()])
    reader = _Reader(model, spec)
    indexes, found = [], []
    for name in spec.feature_names:
        index = _index(workspace, head, name, fold)
        indexes.append(index)
        found.append(load_features(workspace, index, list(labels.index), spec.views))
    clips, inputs, missing = [], [], {}
    for clip_id in labels.index:
        lacking = {
            name: f.lacking[clip_id]
            for name, f in zip(spec.feature_names, found, strict=True)
            if clip_id in f.lacking
        }
        if lacking and (not model.partial or len(lacking) == len(found)):
            missing[clip_id] = next(iter(lacking.values()))
            continue
        try:
            made = reader([f.clips.get(clip_id) for f in found])
        except JoinError as error:
            names = " and ".join(map(repr, spec.feature_names))
            raise FeatureError(f"head {head!r}: features {names}: clip {clip_id}: {error}") from error
        if made is None:
            missing[clip_id] = f"no valid row of feature {' and '.join(map(repr, spec.feature_names))}"
            continue
        clips.append(clip_id)
        inputs.append(made)
    if not clips:
        names = " and ".join(map(repr, spec.feature_names))
        raise AffectstackError(f"head {head!r}: no clip has a valid row of feature {names}; see failures.csv")
    owners = subjects.loc[clips].to_numpy()
    if spec.speaker_norm:
        inputs = normalised(inputs, owners.tolist())
    remarks = reader.remarks(inputs)
    known = set(manifest.subjects().index)
    if strangers := sum(clip_id not in known for clip_id in clips):
        remarks.append(f"{strangers} clips have no label; they are learned from, and tested on never")
    lost = {clip_id: why for clip_id, why in sorted(missing.items()) if clip_id in known}
    own = labels.loc[clips]
    named = pd.Categorical(own, categories=workspace.classes(manifest)) if isinstance(own, pd.Series) else own
    shares = _shares(workspace, manifest, head, clips) if spec.soft else None
    return HeadData(clips, inputs, named, owners, lost, indexes, remarks, shares)


def _shares(workspace: Workspace, manifest: Manifest, head: str, clips: Sequence[str]) -> NDArray[np.float64]:
    """Return the shares of votes of clips, `[N, K]`; NaN of clips without a label."""
    shares = manifest.shares(clips, workspace.classes(manifest))
    labelled = set(manifest.subjects().index)
    bare = [c for c, own in zip(clips, shares, strict=True) if c in labelled and np.isnan(own).any()]
    if bare:
        raise FeatureError(
            f"head {head!r}: {len(bare)} clips have a label and no votes, such as {bare[0]}; fill in their "
            "cells, or leave `soft` out"
        )
    return shares


def _labels(workspace: Workspace, manifest: Manifest) -> pd.Series | pd.DataFrame:
    """Return the class names, or the values, of all clips by clip id."""
    if attributes := workspace.experiment.attributes:
        return manifest.values(attributes)
    return manifest.labels(workspace.experiment.label, workspace.classes(manifest))


def inputs_of(head: Head, data: HeadData, rows: NDArray[np.bool_]) -> Any:
    """Return the chosen clips as a head wants them."""
    return as_read(head, [data.inputs[i] for i in np.flatnonzero(rows)])


def as_read(head: Head, inputs: Sequence[Any]) -> Any:
    """Return the inputs of some clips as a head's methods take them."""
    return list(inputs) if head.sequence else np.stack(inputs)


def clip_input(head: Head, spec: HeadSpec, features: Sequence[Features | None]) -> Input | None:
    """Return what a head reads of a clip, or None if that is not enough for it; see `_Reader`."""
    return _Reader(head, spec)(features)


class _Reader:
    """Makes the input of a head of a clip's features, and counts what it leaves out.

    A head of several inputs gets one feature each. Another one gets all of them side by side: averages, or
    rows of the same times.
    """

    def __init__(self, head: Head, spec: HeadSpec) -> None:
        self._head, self._spec = head, spec
        self._cut: Counter[str] = Counter()

    def __call__(self, features: Sequence[Features | None]) -> Input | None:
        """Return the input, or None if a feature that the head needs has no valid row."""
        if not self._head.inputs:
            return self._joined([f for f in features if f is not None])
        made: list[Part] = []
        for kind, name, feature in zip(self._head.inputs, self._spec.feature_names, features, strict=True):
            if feature is None or not feature.valid.any() or (self._head.partial and feature.silent):
                made.append(None)
            elif kind == "static":
                made.append(_mean(feature))
            else:
                timed = self._timed(name, feature)
                made.append(_rows(timed) if kind == "sequence" else _frames(timed))
        absent = [part is None for part in made]
        return None if all(absent) or (any(absent) and not self._head.partial) else tuple(made)

    def remarks(self, inputs: Sequence[Any]) -> list[str]:
        """Return what was left out of all clips so far, and what they lack, one sentence each."""
        spec, said = self._spec, []
        for name, count in self._cut.items():
            said.append(f"of {count} clips feature {name!r} is cut to {spec.longest:g} s ({spec.cut})")
        if self._head.partial:
            for place, name in enumerate(spec.feature_names):
                if lacking := sum(made[place] is None for made in inputs):
                    said.append(f"{lacking} of {len(inputs)} clips lack feature {name!r}")
        return said

    def _joined(self, features: Sequence[Features]) -> Input | None:
        if self._head.sequence:
            whole = features[0] if len(features) == 1 else side_by_side(features)
            return _rows(self._timed(" + ".join(self._spec.feature_names), whole))
        means = [_mean(f) for f in features]
        there = [mean for mean in means if mean is not None]
        return np.concatenate(there) if len(there) == len(means) else None

    def _timed(self, name: str, features: Features) -> Features:
        """Return a sequence as long and as fine as the head wants it."""
        spec = self._spec
        timeless = len(features.values) > 1 and features.intervals[0, 0] >= features.intervals[-1, 1]
        if timeless and (spec.longest is not None or spec.rate is not None):
            raise JoinError(
                "its rows have no times, which `rate` and `longest` need; name their columns (`start`, `end`)"
            )
        if spec.longest is not None:
            part = cut(features, spec.longest, spec.cut == "centre")
            self._cut[name] += part is not None
            features = features if part is None else part
        return features if spec.rate is None else at_rate(features, spec.rate)


def arrays_in(made: Input) -> Iterator[NDArray[Any]]:
    """Yield the arrays that decide what a head makes of a clip; an empty one where it lacks an input."""
    for part in made if isinstance(made, tuple) else (made,):
        if isinstance(part, Frames):
            yield from (part.values, part.valid)
        else:
            yield np.zeros(0) if part is None else part


def _frames(features: Features) -> Frames | None:
    return Frames(features.values, features.intervals, features.valid) if features.valid.any() else None


def _rows(features: Features) -> Array | None:
    rows = features.values[features.valid]
    return rows if len(rows) else None


def _mean(features: Features) -> Array | None:
    return pool_mean(features.values, features.valid)


def normalised(inputs: Sequence[Any], owners: Sequence[str]) -> list[Input]:
    """Z-score every feature over its own subject's clips, each input of a head by itself."""
    if not isinstance(inputs[0], tuple):
        return list(normalise_by_subject(inputs, owners))
    parts = zip(*inputs, strict=True)
    return list(zip(*(_normalised_part(part, owners) for part in parts), strict=True))


def _normalised_part(part: Sequence[Part], owners: Sequence[str]) -> list[Part]:
    """Z-score one input, of the clips that have it, by its valid rows."""
    there = [i for i, own in enumerate(part) if own is not None]
    rows = [own.values[own.valid] if isinstance(own, Frames) else own for own in part if own is not None]
    out: list[Part] = [None] * len(part)
    for i, values in zip(there, normalise_by_subject(rows, [owners[i] for i in there]), strict=True):
        own = part[i]
        if isinstance(own, Frames):
            whole = np.zeros_like(own.values)
            whole[own.valid] = values
            out[i] = own._replace(values=whole)
        else:
            out[i] = values
    return out


def _index(workspace: Workspace, head: str, name: str, fold: int | None) -> FeatureIndex:
    """Return the index of a feature as a fold reads it."""
    if name in workspace.scoped:
        if fold is None:
            raise AffectstackError(
                f"head {head!r}: feature {name!r} is another in every fold, which a sweep does not do"
            )
        name = fold_feature(name, fold)
    index = read_index(workspace, name)
    _refuse_stale(workspace, name)
    return index


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
