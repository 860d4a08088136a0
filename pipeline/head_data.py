"""What a head is trained on: features of the store, pooled, joined and normalised as the experiment says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affectstack import AffectstackError
from classifiers import Head, normalise_by_subject, pool_mean
from extractors import Features
from manifests import Manifest
from pipeline.cli import stage
from pipeline.features import FeatureError, FeatureIndex, index_path, load_features, read_index
from pipeline.joining import JoinError, side_by_side
from pipeline.workspace import Workspace, fold_feature

Array = NDArray[np.float32]
Input = Array | tuple[Array, ...]


@dataclass(frozen=True)
class HeadData:
    """What a head is trained on.

    Attributes:
        clip_ids: `[N]`, the clips with usable features.
        inputs: N arrays, `[D]` for static heads, `[T_i, D]` for sequence heads; or N tuples of such arrays.
        labels: `[N]` class names, which know the order of the classes; or `[N, A]` values.
        subjects: `[N]`.
        missing: Clips of the manifest without usable features, and why.
        indexes: The features.
    """

    clip_ids: list[str]
    inputs: list[Input]
    labels: pd.Categorical | pd.DataFrame
    subjects: NDArray[Any]
    missing: dict[str, str]
    indexes: list[FeatureIndex]

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
    indexes, found = [], []
    for name in spec.feature_names:
        index = _index(workspace, head, name, fold)
        indexes.append(index)
        found.append(load_features(workspace, index, list(labels.index), spec.views))
    clips, inputs = [], []
    missing = {clip_id: why for feature in reversed(found) for clip_id, why in feature.lacking.items()}
    for clip_id in labels.index:
        if clip_id in missing:
            continue
        try:
            made = clip_input(model, [feature.clips[clip_id] for feature in found])
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
    own = labels.loc[clips]
    named = pd.Categorical(own, categories=workspace.classes(manifest)) if isinstance(own, pd.Series) else own
    return HeadData(clips, inputs, named, owners, dict(sorted(missing.items())), indexes)


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


def clip_input(head: Head, features: Sequence[Features]) -> Input | None:
    """Return what a head reads of a clip, or None if a feature has no valid row.

    A head of several inputs gets one feature each. Another one gets all of them side by side: averages, or
    rows of the same times.
    """
    if head.inputs:
        made = [
            _rows(f) if kind == "sequence" else _mean(f)
            for kind, f in zip(head.inputs, features, strict=True)
        ]
        return None if any(array is None for array in made) else tuple(a for a in made if a is not None)
    if head.sequence:
        return _rows(features[0] if len(features) == 1 else side_by_side(features))
    means = [_mean(f) for f in features]
    return (
        None if any(mean is None for mean in means) else np.concatenate([m for m in means if m is not None])
    )


def _rows(features: Features) -> Array | None:
    rows = features.values[features.valid]
    return rows if len(rows) else None


def _mean(features: Features) -> Array | None:
    return pool_mean(features.values, features.valid)


def normalised(inputs: Sequence[Any], owners: Sequence[str]) -> list[Input]:
    """Z-score every feature over its own subject's clips, each input of a head by itself."""
    if not isinstance(inputs[0], tuple):
        return list(normalise_by_subject(inputs, owners))
    return list(zip(*(normalise_by_subject(part, owners) for part in zip(*inputs, strict=True)), strict=True))


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
