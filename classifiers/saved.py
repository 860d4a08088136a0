"""Heads that are networks, on disk: `head.json` and `head.safetensors`, which hold no code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from classifiers.arrays import Scaler
from classifiers.contract import HeadError, Scale, make_scaler

if TYPE_CHECKING:  # PyTorch takes two seconds to import, which most heads do not need
    from torch import nn

# What a scaler needs to transform; the rest of what it learned is for people.
_LEARNED: dict[str, tuple[str, ...]] = {
    "none": (),
    "minmax": ("min_", "scale_"),
    "standard": ("mean_", "scale_"),
}


def write_network(folder: Path, facts: dict[str, Any], network: "nn.Module") -> None:
    """Write a head's facts and its network's weights."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "head.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    save_file(network.state_dict(), folder / "head.safetensors")


def read_facts(folder: Path) -> dict[str, Any]:
    """Read a head's facts."""
    facts: dict[str, Any] = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    return facts


def read_weights(folder: Path, network: "nn.Module") -> None:
    """Read weights into a network, which must be those of its shape, all of them and no others."""
    from safetensors.torch import load_file

    network.load_state_dict(load_file(folder / "head.safetensors"), strict=True)
    network.eval()


@contextmanager
def reading(folder: Path, name: str) -> Iterator[None]:
    """Say of whatever does not fit in a folder that it is no saved head of this name.

    Raises:
        HeadError: In place of the errors that damaged, foreign or absent files lead to.
    """
    try:
        yield
    except (
        HeadError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError
    ) as error:  # fmt: skip
        raise HeadError(f"{folder}: not a saved {name} ({error})") from error


def scaler_facts(scaler: Scaler | None, scale: Scale) -> dict[str, list[float]] | None:
    """Return what a fitted scaler has learned, as JSON."""
    return None if scaler is None else {n: getattr(scaler, n).tolist() for n in _LEARNED[scale]}


def scaler_of(facts: dict[str, list[float]] | None, scale: Scale, width: int) -> Scaler | None:
    """Return the scaler that `scaler_facts` told of.

    Raises:
        ValueError: If it is of another kind or of features of another width.
    """
    given = {name: np.asarray(values, dtype=np.float64) for name, values in (facts or {}).items()}
    if set(given) != set(_LEARNED[scale]):
        raise ValueError(f"the scaler holds {sorted(given)}; expected {sorted(_LEARNED[scale])}")
    for name, values in given.items():
        if values.shape != (width,) or not np.isfinite(values).all():
            raise ValueError(
                f"the scaler's {name} is of shape {list(values.shape)}; expected {width} numbers"
            )
    scaler = make_scaler(scale)
    for name, values in given.items():
        setattr(scaler, name, values)
    return scaler
