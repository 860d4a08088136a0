"""The sources of an experiment: their stored posteriors, held to what the experiment says now."""

from typing import Any

from pipeline import posteriors
from pipeline.cli import stage
from pipeline.engine.plan import changed_keys
from pipeline.features import index_path
from pipeline.files import canonical_json, read_json
from pipeline.options import ConfigError
from pipeline.posteriors import PosteriorError, PosteriorTable
from pipeline.protocol import Protocol
from pipeline.workspace import Workspace, fold_feature


def stored_sources(workspace: Workspace, protocol: Protocol) -> list[PosteriorTable]:
    """Read what is fused.

    Args:
        workspace: The experiment.
        protocol: Its labels, subjects and folds.

    Raises:
        ConfigError: If there is nothing to fuse.
        PosteriorError: See `stored_source`.
    """
    names = workspace.sources()
    if not names:
        raise ConfigError(
            f"{workspace.file.name} has nothing to fuse; add heads under `heads:` or the names of imported "
            "posteriors under `imported:`"
        )
    return [stored_source(workspace, name, protocol) for name in names]


def stored_source(workspace: Workspace, name: str, protocol: Protocol) -> PosteriorTable:
    """Read a source's posteriors.

    Raises:
        PosteriorError: If they are not there, or were made with other settings, labels, subjects or folds.
    """
    path, imported = (
        workspace.folder / "posteriors" / f"{name}.parquet",
        name in workspace.experiment.imported,
    )
    again = "import it again" if imported else f"run: {training_command(workspace, name)}"
    if not path.is_file():
        if imported:
            command = stage(f"posteriors import PATH --format FORMAT --name {name}", workspace.file)
            raise PosteriorError(f"{name!r} was not imported yet; run: {command}")
        raise PosteriorError(f"head {name!r} was not trained yet; {again}")
    table = posteriors.read(path)
    if not imported:
        _refuse_other_settings(workspace, name, table, again)
        _refuse_other_features(workspace, name, table, again)
    if table.about.protocol_sha256 != protocol.sha256:
        raise PosteriorError(
            f"{name!r} was made with other labels, subjects or folds than the manifest and the experiment "
            f"name now; {again}"
        )
    return table


def learned_from(workspace: Workspace, table: PosteriorTable) -> list[tuple[str, dict[str, Any]]]:
    """Return the features that a source's heads learned from, with their identities.

    Of a feature that is another in every fold, each fold's is one. Sources that are no heads have none.
    """
    spec = workspace.experiment.heads.get(table.about.source)
    found = table.about.features["identity"]
    if spec is None or table.about.imported:
        return []
    identities = found if isinstance(found, list) else [found]
    scoped = workspace.scoped & set(spec.feature_names)
    folds = range(len(table.about.test_subjects)) if scoped else range(1)
    names = [fold_feature(f, k) if f in scoped else f for k in folds for f in spec.feature_names]
    return list(dict(zip(names, identities, strict=True)).items())


def training_command(workspace: Workspace, name: str) -> str:
    """Return the command that makes a source's models and posteriors."""
    tuned = workspace.experiment.finetune.get(name)
    return stage(f"finetune {tuned.modality}" if tuned else "train_heads", workspace.file)


def _refuse_other_features(workspace: Workspace, name: str, table: PosteriorTable, again: str) -> None:
    """Refuse posteriors of features that were made anew, in another way, since."""
    for feature, learned in learned_from(workspace, table):
        index = read_json(index_path(workspace, feature)) or {}
        now = index.get("identity", learned)
        if canonical_json(now) != canonical_json(learned):
            raise PosteriorError(
                f"head {name!r} was trained on {feature!r} as it was before it was extracted with another "
                f"identity ({changed_keys(learned, now)}); {again}"
            )


def _refuse_other_settings(workspace: Workspace, name: str, table: PosteriorTable, again: str) -> None:
    tuned = name in workspace.experiment.finetune
    spec, own = (
        workspace.finetune_identity(name) if tuned else workspace.head_identity(name),
        table.about.head,
    )
    if own != spec:
        changed = sorted(k for k in {*spec, *own} if spec.get(k) != own.get(k))
        what = ", ".join(f"{k}: {own.get(k)!r} -> {spec.get(k)!r}" for k in changed)
        raise PosteriorError(f"head {name!r} was trained with other settings ({what}); {again}")
    if table.about.label != workspace.label:
        raise PosteriorError(f"head {name!r} was trained for label {table.about.label!r}; {again}")
