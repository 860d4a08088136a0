"""Experiments that ship: data, not code."""

from importlib.resources import files
from typing import Any

import yaml

from affectstack import did_you_mean
from pipeline.options import ConfigError


def names() -> list[str]:
    """Return the recipes that ship."""
    return sorted(f.name.removesuffix(".yaml") for f in files(__name__).iterdir() if f.name.endswith(".yaml"))


def read(name: str) -> dict[str, Any]:
    """Return a recipe's document.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"unknown recipe {name!r}{did_you_mean(name, names())}")
    document: dict[str, Any] = yaml.safe_load(
        files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    )
    return document
