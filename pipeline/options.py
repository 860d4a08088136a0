"""Turning what an experiment says into an object, with errors that name the key."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from affectstack import AffectstackError, Registry, did_you_mean

T = TypeVar("T")


class ConfigError(AffectstackError):
    """An experiment file or a command line that cannot be used."""


def build(
    registry: Registry[T],
    name: str,
    options: Mapping[str, Any],
    where: str,
    folder: Path,
    defaults: Mapping[str, Any] | None = None,
) -> T:
    """Construct a registered class from options.

    Args:
        registry: Where its name is looked up.
        name: Its name.
        options: Keyword arguments as YAML gave them; checked against the constructor's annotations.
        where: The place in the experiment, for error messages ("heads.voice-svc").
        folder: What relative paths are relative to.
        defaults: Further arguments, used where the constructor takes them and `options` is silent.

    Raises:
        ConfigError: If the name or a key is unknown, or a value is of the wrong kind.
    """
    try:
        kind = registry[name]
    except AffectstackError as error:
        raise ConfigError(f"{where}: {error}") from error
    hints = get_type_hints(kind.__init__)
    parameters = list(inspect.signature(kind).parameters)
    arguments: dict[str, Any] = {}
    for key, value in options.items():
        if key not in parameters:
            raise ConfigError(f"{where}: {name} has no option {key!r}{did_you_mean(key, parameters)}")
        arguments[key] = _checked(hints[key], value, f"{where}.{key}")
        if isinstance(arguments[key], Path):
            arguments[key] = folder / arguments[key]
        elif key == "weights":
            named = arguments[key]
            several = isinstance(named, list | tuple)
            arguments[key] = [_found(folder, n) for n in named] if several else _found(folder, named)
    for key, value in (defaults or {}).items():
        if key in parameters:
            arguments.setdefault(key, value)
    missing = [
        p.name
        for p in inspect.signature(kind).parameters.values()
        if p.default is inspect.Parameter.empty and p.name not in arguments
    ]
    if missing:
        add = f"add it to the experiment, or give --set {where}.{missing[0]}=…"
        how = f"give --{missing[0]}" if where.startswith("--") else add  # asked for by a command's own option
        raise ConfigError(f"{where}: {name} needs {', '.join(map(repr, missing))}; {how}")
    return kind(**arguments)


def _found(folder: Path, named: Any) -> Any:
    """Return the path of weights that lie in a folder, or whatever else they are."""
    return str(folder / named) if isinstance(named, str) and named and (folder / named).exists() else named


def _checked(hint: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{where}: {value!r}: {problem(error)}") from error


def problem(error: ValidationError) -> str:
    """Return the first few complaints of pydantic in one line."""
    texts = []
    for entry in error.errors():
        message = entry["msg"].removeprefix("Value error, ")
        if message not in texts:
            texts.append(message)
    return "; ".join(texts[:3])
