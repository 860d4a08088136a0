"""The one place where a pickle is read: arrays by name, as caffe2 saved them, and nothing that could run.

A pickle is a program. This reader knows eight names, all of which make arrays, and refuses every other before
it is even looked up (Python documentation, "Restricting Globals").
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.weights import WeightsError

LARGEST = 4 << 30  # bytes; the largest network of the model zoos has 0.7 GB


def _empty(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
    """Make an empty array, which its state fills; never a large one, whatever the file asks for."""
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array that does not begin empty")
    return np.ndarray((0,), np.uint8)


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode("latin1")


def _number(kind: Any, data: Any) -> Any:
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(kind, np.dtype) or kind.hasobject or len(data) != kind.itemsize:
        raise pickle.UnpicklingError("a number that is none")
    return np.frombuffer(data, kind)[0]


def _kind(name: Any, *_: Any) -> np.dtype[Any]:
    kind: np.dtype[Any] = np.dtype(str(name))
    if kind.hasobject:
        raise pickle.UnpicklingError("an array of objects")
    return kind


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _kind,
    ("_codecs", "encode"): _encoded,
    ("collections", "OrderedDict"): OrderedDict,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return one of eight, or refuse."""
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to what is outside."""
        raise pickle.UnpicklingError("it refers to something outside")


def read_blobs(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays by name from a caffe2 checkpoint (`{"blobs": {name: array}}`, or such a mapping alone).

    Raises:
        WeightsError: If the file asks for anything but arrays; nothing of it has run then.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise WeightsError(f"{path}: {size} bytes; at most {LARGEST} are read")
        with path.open("rb") as file:
            found = _Reader(file, encoding="latin1").load()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # whatever a broken or hostile file makes of the reader
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise WeightsError(
            f"{path}: refused, not a plain caffe2 checkpoint ({reason}). Nothing in it was run"
        ) from error
    blobs = found.get("blobs", found) if isinstance(found, dict) else None
    if not isinstance(blobs, dict) or not blobs:
        raise WeightsError(f"{path}: no arrays by name in it; expected a caffe2 checkpoint")
    arrays = {str(k): np.asarray(v) for k, v in blobs.items() if isinstance(v, np.ndarray | np.generic)}
    if wrong := [k for k, v in arrays.items() if v.dtype.kind not in "fiub"]:
        raise WeightsError(f"{path}: {wrong[0]} holds no numbers")
    return arrays
