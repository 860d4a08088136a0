"""Which features use which store folder. The package itself must not know: features stand on it."""

from collections.abc import Collection
from pathlib import Path

from affectstack import AffectstackError, did_you_mean
from pipeline.cli import stage
from pipeline.features import FeatureError, FeatureIndex, read_index
from pipeline.files import read_json
from pipeline.store.maintenance import Use
from pipeline.workspace import Workspace


def features_folder(workspace: Workspace) -> Path:
    """Return the workspace's features folder.

    Raises:
        FeatureError: If there is none yet.
    """
    folder = workspace.folder / "features"
    if not folder.is_dir():
        raise FeatureError(
            f"no features were extracted yet ({folder} is absent); run: "
            f"{stage('extract all', workspace.file)}"
        )
    return folder.resolve()


def read_indexes(workspace: Workspace) -> dict[str, FeatureIndex]:
    """Read every index in the features folder, those of other experiment files included.

    Raises:
        FeatureError: If one is unreadable: what it uses is unknown.
    """
    paths = sorted(features_folder(workspace).glob("*.json"))
    return {path.stem: _read(path, workspace) for path in paths}


def uses(workspace: Workspace, indexes: dict[str, FeatureIndex]) -> list[Use]:
    """Return what the indexes say about the stores."""
    return [_use(workspace, name, index) for name, index in indexes.items()]


def known_index(workspace: Workspace, name: str) -> FeatureIndex:
    """Return one feature's index.

    Raises:
        FeatureError: If there is no such feature, or the experiment says that it is out of date.
    """
    if name in workspace.experiment.features:
        return read_index(workspace, name)
    indexes = read_indexes(workspace)
    require_known([name], {*indexes, *workspace.experiment.features})
    return indexes[name]


def require_known(names: Collection[str], known: Collection[str]) -> None:
    """Refuse names of features that do not exist.

    Raises:
        AffectstackError: With a suggestion.
    """
    for name in names:
        if name not in known:
            raise AffectstackError(f"no feature {name!r} was extracted here{did_you_mean(name, known)}")


def _read(path: Path, workspace: Workspace) -> FeatureIndex:
    try:
        index = FeatureIndex(**(read_json(path) or {}))
    except TypeError as error:
        raise FeatureError(
            f"{path}: not readable as a feature's index, so that what it uses is unknown; "
            f"run: {stage('extract all', workspace.file)}, or delete it"
        ) from error
    if not isinstance(index.folder, str) or not all(_plain(n) for n in index.shards):
        raise FeatureError(f"{path}: names no store folder or odd shards; delete it")
    return index


def _plain(name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name and name.endswith(".h5")


def _use(workspace: Workspace, name: str, index: FeatureIndex) -> Use:
    features = features_folder(workspace)
    folder = (workspace.folder / index.folder).resolve()
    if not folder.is_relative_to(features):
        raise FeatureError(f"feature {name!r}: its store {folder} is outside {features}; extract it again")
    spec = workspace.experiment.features.get(name)
    command = stage(f"extract {spec.modality if spec else 'all'}", workspace.file)
    return Use(name, folder, tuple(index.shards), index.identity_sha256, index.untrained, command)
