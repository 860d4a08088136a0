"""Where a feature of the experiment lies in the store, and reading it for the heads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from affectstack import AffectstackError
from extractors import Features
from pipeline.cli import stage
from pipeline.files import publish_json, read_json
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
    return index


def load_features(workspace: Workspace, index: FeatureIndex, clip_ids: Sequence[str]) -> dict[str, Features]:
    """Load a whole feature, each shard in one go.

    Args:
        workspace: The experiment.
        index: The feature.
        clip_ids: The manifest's clips; others in the store are left out.

    Returns:
        Features by clip id, for the clips that were extracted.

    Raises:
        StoreError: If a shard is absent or damaged.
        FeatureError: If a clip has several views, which heads cannot combine yet.
    """
    wanted = set(clip_ids)
    found: dict[str, Features] = {}
    for block in FeatureStore(workspace.folder / index.folder, index.shards, index.identity_sha256).blocks():
        for (clip_id, view), features in block.items():
            if clip_id in found:
                raise FeatureError(
                    f"feature {index.name!r}: clip {clip_id} has several views (one is {view!r}); "
                    "heads take one view per clip, so keep one in the manifest"
                )
            if clip_id in wanted:
                found[clip_id] = features
    return found
