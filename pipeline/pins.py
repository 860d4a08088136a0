"""Pinning weights: a file that was used once must stay the same, or the user must say that it may change."""

from collections.abc import Mapping
from typing import Any

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


def pin(workspace: Workspace, feature: str, identity: Mapping[str, Any]) -> list[str]:
    """Note which weights a feature uses, in `weights.lock` beside the experiment, and hold it to that.

    Weights that the experiment fine-tunes itself may change.

    Args:
        workspace: The experiment.
        feature: The feature.
        identity: Its extractor's.

    Returns:
        A line for every file that is used for the first time.

    Raises:
        ConfigError: If a file is not the one that was used before.
    """
    if workspace.tuned_encoder(feature) is not None:
        return []
    path = workspace.folder / _FILE
    pinned = read_json(path) or {}
    known: dict[str, list[str]] = pinned.get(feature) or {}  # files of one name may lie in several folders
    lines = []
    for name, sha256 in used_weights(identity):
        if name not in known:
            lines.append(f"pinned {name}, sha256 {sha256}; compare it with what its source states")
        elif sha256 not in known[name]:
            raise ConfigError(
                f"feature {feature!r}: {name} has sha256 {sha256[:16]}…, but it was {known[name][0][:16]}… "
                f"when it was first used. If the change is meant, delete {name!r} from "
                f"{relative_to_cwd(path)} and run the same command again"
            )
    if lines:
        fresh: dict[str, list[str]] = {}
        for name, sha256 in used_weights(identity):
            fresh.setdefault(name, []).append(sha256)
        publish_json(path, {**pinned, feature: {**known, **fresh}})
    return lines
