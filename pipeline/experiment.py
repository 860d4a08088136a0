"""The experiment file: what is extracted, trained and fused. See the README for an example."""

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from affectstack import did_you_mean
from pipeline import history
from pipeline.options import ConfigError, problem
from pipeline.sections import Experiment, FeatureSpec, FusionSpec, HeadSpec
from pipeline.workspace import Workspace


def load(file: Path, overrides: Sequence[str] = ()) -> Workspace:
    """Read an experiment file.

    Args:
        file: The YAML file.
        overrides: `key.to.value=YAML` from the command line; `*` in a key matches any name.

    Raises:
        ConfigError: If the file is absent or anything in it is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not a UTF-8 text file; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(
            f"no {file} here ({error.strerror}). Make one with: "
            "python -m pipeline.init --corpus ravdess --root DIR, or name one with --experiment FILE"
        ) from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(
            f"{file}: expected keys like manifest, features, heads; found {type(document).__name__}"
        )
    workspace = Workspace(parse(override(document, overrides), file.name), file.resolve().parent, file)
    history.opened(workspace.folder)
    return workspace.with_fold_features()


def parse(document: Mapping[str, Any], source: str) -> Experiment:
    """Validate a document.

    Raises:
        ConfigError: With the path of the first wrong key, and a suggestion if it is unknown.
    """
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        location = [str(part) for part in first["loc"]]
        where = ".".join(location)
        if first["type"] == "extra_forbidden":
            known = _known_keys(location[:-1])
            hint = did_you_mean(location[-1], known)
            raise ConfigError(f"{source}: unknown key {where!r}{hint}") from error
        if first["type"] == "missing":
            raise ConfigError(f"{source}: {where} is missing") from error
        raise ConfigError(f"{source}: {where}: {problem(error)}; found {first['input']!r}") from error


def override(document: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a document with `key.to.value=YAML` settings applied.

    Raises:
        ConfigError: If a setting has no `=`, is no YAML, or its key leads through a plain value.
    """
    out: dict[str, Any] = json.loads(json.dumps(document, default=str))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting}: expected key=value, as in --set heads.voice-svc.C=3")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting}: the value is not valid YAML") from error
        for parent in _parents(out, key.strip().split(".")[:-1], setting):
            parent[key.strip().split(".")[-1]] = value
    return out


def dump(document: Mapping[str, Any]) -> str:
    """Return a document as YAML, in its own order."""
    return yaml.safe_dump(
        dict(document), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
    )


def _parents(document: dict[str, Any], keys: Sequence[str], setting: str) -> Iterator[dict[str, Any]]:
    """Yield the mappings that a dotted key leads to, making those that are absent."""
    if not keys:
        yield document
        return
    first, rest = keys[0], keys[1:]
    if "*" in first:
        matches = [k for k in document if fnmatchcase(k, first)]
        if not matches:
            raise ConfigError(f"--set {setting}: nothing matches {first!r} (known: {', '.join(document)})")
    else:
        document.setdefault(first, {})
        matches = [first]
    for match in matches:
        if not isinstance(document[match], dict):
            raise ConfigError(f"--set {setting}: {match!r} is a value, it has no keys below it")
        yield from _parents(document[match], rest, setting)


def _known_keys(location: Sequence[str]) -> list[str]:
    model: Any = Experiment
    if location and location[0] in ("features", "heads", "fusion"):
        model = {"features": FeatureSpec, "heads": HeadSpec, "fusion": FusionSpec}[location[0]]
    return list(model.model_fields)
