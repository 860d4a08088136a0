"""Posterior tables: our own heads' and other people's."""

from pipeline.posteriors.table import (
    NO_INNER,
    About,
    ModelNote,
    PosteriorError,
    PosteriorTable,
    Split,
    columns,
    read,
    rows_of,
    to_parquet,
    write,
)

__all__ = [
    "NO_INNER",
    "About",
    "ModelNote",
    "PosteriorError",
    "PosteriorTable",
    "Split",
    "columns",
    "read",
    "rows_of",
    "to_parquet",
    "write",
]
