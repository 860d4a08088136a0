"""Pinning weights: a file that was used once must stay the same, or the user must say that it may change."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.cli import relative_to_cwd
from pipeline.files import publish_json, read_json
from pipeline.options import ConfigError
from pipeline.workspace import Workspace

_FILE = "weights.lock"


def used_weights(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and sha256 of every file of weights in an extractor's identity."""
    names, sums = identity.get("weights"), identity.get("weights_sha256")
    if isinstance(names, list) and isinstance(sums, list):
        return list(zip(names, sums, strict=True))
    return [(names, sums)] if isinstance(names, str) and isinstance(sums, str) else []


def refuse_other_weights(workspace: Workspace, feature: str, identity: Mapping[str, Any]) -> None:
    """Hold a feature to the weights that it was made with before.

    Weights that the experiment fine-tunes itself may change.

    Args:
        workspace: The experiment.
        feature: The feature.
        identity: Its extractor's.

    Raises:
        ConfigError: If a file is not the one that was used before.
    """
    known = _pinned(workspace, feature)
    for name, sha256 in used_weights(identity):
        if name in known and sha256 not in known[name]:
            raise ConfigError(
                f"feature {feature!r}: {name} has sha256 {sha256[:16]}…, but it was {known[name][0][:16]}… "
                f"when it was first used. If the change is meant, delete {name!r} from "
                f"{relative_to_cwd(workspace.folder / _FILE)} and run the same command again"
            )


def pin(workspace: Workspace, feature: str, identity: Mapping[str, Any]) -> list[str]:
    """Note which weights a feature was made with, in `weights.lock` beside the experiment.

    Args:
        workspace: The experiment.
        feature: The feature.
        identity: Its extractor's.

    Returns:
        A line for every file that was used for the first time.
    """
    used: dict[str, list[str]] = {}
    if workspace.tuned_encoder(feature) is None:
        for name, sha256 in used_weights(identity):
            used.setdefault(name, []).append(sha256)
    known = _pinned(workspace, feature)
    fresh = {name: sums for name, sums in used.items() if name not in known}
    if fresh:
        publish_json(workspace.folder / _FILE, {**_locked(workspace), feature: {**known, **fresh}})
    return [
        f"pinned {name}, sha256 {sha256}; compare it with what its source states"
        for name, sums in fresh.items()
        for sha256 in sums
    ]


def _pinned(workspace: Workspace, feature: str) -> dict[str, list[str]]:
    """Return what is known of a feature; files of one name may lie in several folders."""
    found = _locked(workspace).get(feature, {})
    try:
        return TypeAdapter(dict[str, Annotated[list[str], Field(min_length=1)]]).validate_python(found)
    except ValidationError as error:
        raise ConfigError(
            f"{relative_to_cwd(workspace.folder / _FILE)}: damaged at {feature!r}; delete that entry"
        ) from error


def _locked(workspace: Workspace) -> dict[str, Any]:
    path = workspace.folder / _FILE
    found = read_json(path)
    if found is None and path.exists():
        raise ConfigError(
            f"{relative_to_cwd(path)}: not readable as JSON; mend it, or delete it to pin all weights anew"
        )
    return found or {}
