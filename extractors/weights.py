"""Where weights come from: a local file, a pinned revision on the hub, or nowhere ("random")."""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from affectstack import AffectstackError
from affectstack.hashing import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

RANDOM = "random"
LEGACY = (".pkl", ".pickle")
_CARDS = Path(__file__).with_name("weights.toml")
_PERMISSIVE = ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0")
_COMMIT = re.compile("[0-9a-f]{40}")
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?")


class WeightsError(AffectstackError):
    """Weights that are missing or do not fit. Concerns every clip, so the run stops."""


@dataclass(frozen=True)
class Card:
    """What is known about a set of weights; see `weights.toml`.

    The certificate holds what was measured with random weights, and what the tests hold the extractor to.

    Attributes:
        mean: Of pixels in 0..1 as the network was trained; the same for the three colours.
        std: Their standard deviation.
        size: Pixels of a side, as the network was trained.
        colour: "rgb" or "bgr".
        any_hub: True if any model of the hub will do.
        package: The Python package that brings them, or "".
        gflop: 10^9 operations of a window of that size, by fvcore; a multiplication and its addition are two.
        bf16_cosine: The least cosine of a row in bfloat16 with the same row in float32; 0: not allowed.
        batch_tolerance: The largest change of a value by what else is in the batch, as a share of the
            largest value.
        padding_tolerance: The same, by padding.
        compiling_saves: Seconds that compiling was measured to save per window, in float32 on two cores.
        compiling_saves_bf16: The same in bfloat16.
    """

    name: str
    title: str
    origin: str
    file: str
    licence: str
    note: str = ""
    hub: str = ""
    revision: str = ""
    mean: float = 0.0
    std: float = 1.0
    size: int = 0
    colour: str = "rgb"
    any_hub: bool = False
    package: str = ""
    gflop: float = 0.0
    bf16_cosine: float = 0.0
    batch_tolerance: float = 0.0
    padding_tolerance: float = 0.0
    compiling_saves: float = 0.0
    compiling_saves_bf16: float = 0.0

    @property
    def permissive(self) -> bool:
        """True if its licence lets anybody use it for anything."""
        return self.licence in _PERMISSIVE

    @property
    def allows_bf16(self) -> bool:
        """True if bfloat16 keeps the features."""
        return self.bf16_cosine > 0

    def missing(self, reason: str) -> WeightsError:
        """Return the error that says what is missing, where to get it and where to put it."""
        hub = f", or let `weights: {self.hub}@{self.revision}` fetch it" if self.hub else ""
        return WeightsError(
            f"weights of {self.name}: {reason}. Get {self.title} ({self.licence}) from {self.origin}, "
            f"put it at {self.file} beside the experiment and name it with `weights: {self.file}`{hub}. "
            f"{self.note} To try the road without it, write `weights: random` (untrained)."
        )


@dataclass(frozen=True)
class Weights:
    """Resolved weights.

    Attributes:
        path: The local file or folder; None when random or on the hub.
        hub: The hub id, or "".
        revision: The pinned revision on the hub.
    """

    path: Path | None = None
    hub: str = ""
    revision: str = ""

    @property
    def random(self) -> bool:
        """True for untrained weights."""
        return self.path is None and not self.hub

    def identity(self) -> dict[str, str]:
        """Return what a store records about the weights."""
        if self.random:
            return {"weights": RANDOM}
        if self.path is None:
            return {"weights": f"{self.hub}@{self.revision}"}
        return {"weights": self.path.name, "weights_sha256": sha256(self.path)}


def card(name: str) -> Card:
    """Return the card of a network's usual weights."""
    return cards()[name]


@cache
def cards() -> Mapping[str, Card]:
    """Return every card by the name of its network."""
    entries = tomllib.loads(_CARDS.read_text(encoding="utf-8"))
    return MappingProxyType({name: Card(name=name, **entry) for name, entry in entries.items()})


def resolve(spec: str | None, card: Card) -> Weights:
    """Turn what an experiment says into weights.

    Args:
        spec: A path, `org/name@revision`, `"random"`, or None: the place that the card names.
        card: The card of the network.

    Raises:
        WeightsError: If nothing is there, or a hub id names no revision.
    """
    if spec == RANDOM:
        return Weights()
    if spec is None:
        if card.hub:
            return Weights(hub=card.hub, revision=card.revision)
        raise card.missing("none given")
    path = Path(spec)
    if path.exists():
        return Weights(path=path.resolve())
    match = _HUB_ID.fullmatch(spec)
    if (card.hub or card.any_hub) and match and path.suffix not in (".pyth", ".pt", ".safetensors"):
        revision = match["revision"] or (card.revision if match["id"] == card.hub else "")
        if not _COMMIT.fullmatch(revision):  # a branch may move, and its features would be mixed with others
            raise card.missing(
                f"{spec} does not exist and is no pinned hub id (org/name@revision, the revision being the "
                "40 hex digits of a commit)"
            )
        return Weights(hub=match["id"], revision=revision)
    raise card.missing(f"{spec} does not exist")


def load_state_dict(path: Path) -> "dict[str, Tensor]":
    """Read tensors from a checkpoint without running any code in it.

    Args:
        path: `.safetensors`, or `.pyth`, `.pt`, `.pth`, `.bin`, `.tar` as written by `torch.save`; a
            `model_state` or `state_dict` inside is unwrapped.

    Raises:
        WeightsError: If the file is of another kind, damaged, or holds more than tensors.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return _finite(path, load_file(path))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    if path.suffix in LEGACY:
        raise WeightsError(
            f"{path}: a pickle, which is never loaded as it is; "
            f"run: python -m pipeline.convert_weights {path}"
        )
    if path.suffix not in (".pyth", ".pt", ".pth", ".bin", ".tar"):
        raise WeightsError(f"{path}: unknown kind {path.suffix!r}; expected .safetensors, .pyth, .pt or .pth")
    import pickle

    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise WeightsError(
            f"{path}: refused, not a plain checkpoint of tensors ({_reason(error)}). Nothing in it was run. "
            "If you trust where it comes from, save its state dict alone there"
        ) from error
    for key in ("model_state", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise WeightsError(f"{path}: holds no state dict; expected tensors by parameter name")
    return _finite(path, loaded)


def _reason(error: Exception) -> str:
    """Return why PyTorch refused a checkpoint; without its advice to load it all the same."""
    if asked := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it asks for {asked[1]}"
    lines = str(error).strip().splitlines()
    return type(error).__name__ if not lines or "weights_only" in lines[0] else lines[0]


def _finite(path: Path, state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(f"{path}: parameter {name} holds NaN or infinity")
    return state


def sha256(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files by name and content."""
    if path.is_file():
        stat = path.stat()
        return _file_sha256(path, stat.st_size, stat.st_mtime_ns)
    listing = hashlib.sha256()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        listing.update(f"{file_path.relative_to(path).as_posix()}\0{sha256(file_path)}\n".encode())
    return listing.hexdigest()


@cache
def _file_sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    """Hash a file once for as long as it stays the same."""
    return file_sha256(path)
