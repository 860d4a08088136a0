"""Published figures, derived anew from published files."""

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.references import golden, mmer
from pipeline.references.figure import Figure

REFERENCES: dict[str, Callable[[Path, int], Iterator[Figure | str]]] = {
    "golden": golden.figures,
    "mmer": mmer.figures,
}

__all__ = ["REFERENCES", "Figure"]
