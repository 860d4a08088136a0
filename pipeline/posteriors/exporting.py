"""Writing posteriors for other tools."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipeline.files import publish
from pipeline.posteriors.table import PosteriorTable, to_parquet


def export(table: PosteriorTable, form: str, out: Path) -> list[Path]:
    """Write a table.

    Args:
        table: The posteriors.
        form: One of `FORMATS`.
        out: The folder to write into.

    Returns:
        The files written.
    """
    written = []
    for suffix, data in FORMATS[form](table).items():
        path = out / f"{table.about.source}{suffix}"
        publish(path, data)
        written.append(path)
    return written


def _csv(table: PosteriorTable) -> dict[str, bytes]:
    return {".csv": table.rows.to_csv(index=False, lineterminator="\n").encode()}


def _parquet(table: PosteriorTable) -> dict[str, bytes]:
    return {".parquet": to_parquet(table.rows, asdict(table.about))}


def _npy(table: PosteriorTable) -> dict[str, bytes]:
    """Return `[N, K]` float64 posteriors or values, and beside them the clips row by row and the names."""
    targets, values = table.about.targets, io.BytesIO()
    np.save(values, table.rows[targets.columns].to_numpy(dtype=np.float64))
    keys = table.rows[["clip_id", "outer_fold", "inner_fold", "split"]]
    return {
        ".npy": values.getvalue(),
        ".rows.csv": keys.to_csv(index=False, lineterminator="\n").encode(),
        f".{'attributes' if targets.attributes else 'classes'}.json": json.dumps(
            targets.names, ensure_ascii=False
        ).encode(),
    }


FORMATS: dict[str, Callable[[PosteriorTable], dict[str, bytes]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "npy": _npy,
}
