"""Where a feature of the experiment lies in the store, and reading it for the heads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from affectstack import AffectstackError
from extractors import Features
from pipeline.cli import stage
from pipeline.files import publish_json, read_json
from pipeline.joining import JoinError, side_by_side
from pipeline.store import FeatureStore
from pipeline.workspace import Workspace


class FeatureError(AffectstackError):
    """A feature that the heads cannot use."""


@dataclass(frozen=True)
class FeatureIndex:
    """What the last `extract` of a feature made; kept as `features/<name>.json`.

    Attributes:
        name: The feature.
        spec: How the experiment described it, for noticing that it has changed since.
        folder: Its shards, relative to the workspace.
        shards: Their file names, in the order of the manifest.
        identity: The extractor's identity.
        identity_sha256: Its fingerprint.
        seen_subjects: Subjects that the extractor's weights have seen.
        untrained: True if the weights are random.
        clips: How many clips are there.
        failed: How many clips failed.
        selected_on_test: True if test clips chose among the extractor's weights.
        pictures_sha256: Fingerprint of the shards whose pictures the extractor read, or "".
    """

    name: str
    spec: dict[str, Any]
    folder: str
    shards: list[str]
    identity: dict[str, Any]
    identity_sha256: str
    seen_subjects: list[str]
    untrained: bool
    clips: int
    failed: int
    selected_on_test: bool = False
    pictures_sha256: str = ""

    def open(self, workspace: Workspace) -> FeatureStore:
        """Open its shards.

        Raises:
            StoreCorruptError: If a record is absent or damaged.
        """
        return FeatureStore(workspace.folder / self.folder, self.shards, self.identity_sha256)

    def write(self, workspace: Workspace) -> Path:
        """Publish the index."""
        path = index_path(workspace, self.name)
        publish_json(path, asdict(self))
        return path


def index_path(workspace: Workspace, name: str) -> Path:
    """Return where a feature's index lies."""
    return workspace.folder / "features" / f"{name}.json"


def spec_as_json(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return how the experiment describes a feature, for comparing."""
    spec = workspace.experiment.features[name]
    return spec.model_dump(mode="json", exclude=set() if spec.finetuned else {"finetuned"})


def read_index(workspace: Workspace, name: str) -> FeatureIndex:
    """Read a feature's index.

    Raises:
        FeatureError: If the feature was not extracted, or with other settings.
    """
    modality = workspace.experiment.features[name].modality
    command = stage(f"extract {modality}", workspace.file)
    value = read_json(index_path(workspace, name))
    if value is None:
        raise FeatureError(f"feature {name!r} was not extracted yet; run: {command}")
    try:
        index = FeatureIndex(**value)
    except TypeError as error:
        raise FeatureError(
            f"{index_path(workspace, name)}: written by another version of affectstack; run: {command}"
        ) from error
    spec = spec_as_json(workspace, name)
    if index.spec != spec:
        changed = sorted(k for k in {*spec, *index.spec} if spec.get(k) != index.spec.get(k))
        what = ", ".join(f"{k}: {index.spec.get(k)!r} -> {spec.get(k)!r}" for k in changed)
        raise FeatureError(f"feature {name!r} was extracted with other settings ({what}); run: {command}")
    source = workspace.extractor(name).reads_feature
    if source is not None and index.pictures_sha256 != read_index(workspace, source).open(workspace).sha256:
        raise FeatureError(
            f"feature {name!r} was made of other pictures than {source!r} holds now; run: {command}"
        )
    return index


@dataclass(frozen=True)
class LoadedFeature:
    """A whole feature.

    Attributes:
        clips: Features by clip id, for the clips that were extracted, in all of the views asked for.
        lacking: Why other clips are not there, by clip id.
    """

    clips: dict[str, Features]
    lacking: dict[str, str]


def load_features(
    workspace: Workspace, index: FeatureIndex, clip_ids: Sequence[str], views: Sequence[str] | None = None
) -> LoadedFeature:
    """Load a whole feature, each shard in one go.

    Args:
        workspace: The experiment.
        index: The feature.
        clip_ids: The manifest's clips; others in the store are left out.
        views: The cameras to join side by side, in this order; None: every clip has one view.

    Raises:
        StoreError: If a shard is absent or damaged.
        FeatureError: If a clip has several views and none are asked for, or views cannot be joined.
    """
    wanted = set(clip_ids)
    seen: dict[str, dict[str, Features]] = {}
    for block in index.open(workspace).blocks():
        for (clip_id, view), features in block.items():
            if clip_id in wanted and (views is None or view in views):
                seen.setdefault(clip_id, {})[view] = features
    nowhere = f"not in feature {index.name!r}, see {index.folder}/failures.csv"
    lacking = {clip_id: nowhere for clip_id in clip_ids if clip_id not in seen}
    if views is None:
        return LoadedFeature({c: _only(index.name, c, own) for c, own in seen.items()}, lacking)
    if strangers := [v for v in views if not any(v in own for own in seen.values())]:
        raise FeatureError(f"feature {index.name!r}: no clip has view {strangers[0]!r}; see the manifest")
    found = {}
    for clip_id, own in seen.items():
        if absent := [view for view in views if view not in own]:
            named = f"view{'s' * (len(absent) > 1)} {', '.join(map(repr, absent))}"
            lacking[clip_id] = f"feature {index.name!r} has no {named} of it"
            continue
        try:
            found[clip_id] = side_by_side([own[view] for view in views])
        except JoinError as error:
            raise FeatureError(f"feature {index.name!r}: clip {clip_id}: {error}") from error
    return LoadedFeature(found, lacking)


def _only(feature: str, clip_id: str, views: dict[str, Features]) -> Features:
    if len(views) > 1:
        raise FeatureError(
            f"feature {feature!r}: clip {clip_id} has several views ({', '.join(sorted(views))}); "
            "say which of them a head reads, as in `views: [front, left]`"
        )
    return next(iter(views.values()))
