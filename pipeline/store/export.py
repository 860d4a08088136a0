"""Stores in the forms that other tools read, written shard by shard."""

import csv
import json
import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from affectstack import AffectstackError, __version__
from pipeline.files import WriteError
from pipeline.store.actionformer import write_actionformer
from pipeline.store.block import Block, ClipKey
from pipeline.store.reading import FeatureStore

NOTE = "export.json"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ABOUT_ROWS = ("clip_id", "view", "row", "start", "end", "valid")


class ExportError(AffectstackError):
    """Features that cannot be exported as asked."""


@dataclass(frozen=True)
class Source:
    """A feature that is exported.

    Attributes:
        name: The feature.
        store: Its shards.
        folder: Where they lie, relative to the experiment.
        identity: The extractor's.
        identity_sha256: Its fingerprint.
        untrained: True if the extractor's weights are random.
        failed: How many clips failed and are not there.
        fps: The frame rate in which ActionFormer counts.
    """

    name: str
    store: FeatureStore
    folder: str
    identity: dict[str, Any]
    identity_sha256: str
    untrained: bool
    failed: int
    fps: float = 30.0

    def about(self) -> dict[str, Any]:
        """Return what lies beside every export."""
        return {
            "affectstack": __version__,
            "feature": self.name,
            "source": self.folder,
            "identity": self.identity,
            "identity_sha256": self.identity_sha256,
            "untrained": self.untrained,
            "clips": len(self.store),
            "failed": self.failed,
        }


def file_stem(key: ClipKey) -> str:
    """Return the file name of a clip without its suffix: `<clip_id>` or `<clip_id>@<view>`.

    Raises:
        ExportError: If the id, which comes from a file, is no plain name.
    """
    for part in key if key[1] else key[:1]:
        if not _ID.fullmatch(part) or part in (".", ".."):
            raise ExportError(
                f"{part!r} is no clip id or view: expected 1 to 128 letters, digits, '.', '_', '-'"
            )
    return "@".join(part for part in key if part)


def export(source: Source, form: str, out: Path, *, force: bool = False) -> Path:
    """Write a feature in another form; the folder appears when it is whole.

    Args:
        source: The feature.
        form: One of `FORMATS`.
        out: The folder to write.
        force: Replace an earlier export there.

    Returns:
        The folder.

    Raises:
        ExportError: If the folder is in use, the disk is too small, or the form cannot hold the features.
        StoreError: If a shard is damaged.
        WriteError: If the folder cannot be written.
    """
    for key in source.store:
        file_stem(key)
    if not len(source.store):
        raise ExportError(f"feature {source.name!r} has no clips; see failures.csv in {source.folder}")
    out = out.resolve()
    _refuse_occupied(out, force)
    with _published(out) as folder:
        _refuse_small_disk(source, form, folder)
        FORMATS[form](source, folder)
        note = json.dumps({**source.about(), "format": form}, indent=1, ensure_ascii=False)
        (folder / NOTE).write_text(f"{note}\n", encoding="utf-8")
    return out


def write_npy(source: Source, folder: Path) -> None:
    """Write `<clip>.npy` `[T, D]` float32, `index.csv` with the times of each row, and the names."""
    (folder / "feature_names.txt").write_text(
        "".join(f"{name}\n" for name in source.store.feature_names()), encoding="utf-8"
    )
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        index = csv.writer(file, lineterminator="\n")
        index.writerow(["clip_id", "view", "rows", "start", "end", "valid_rows"])
        for key, features in _clips(source):
            np.save(folder / f"{file_stem(key)}.npy", features.values, allow_pickle=False)
            start, end = features.intervals[:, 0].min(), features.intervals[:, 1].max()
            index.writerow([*key, len(features.values), start, end, int(features.valid.sum())])


def write_csv(source: Source, folder: Path) -> None:
    """Write one long table as CSV."""
    columns = table_columns(source.store.feature_names())
    path = folder / f"{source.name}.csv"
    with pa.csv.CSVWriter(path, _schema(columns), write_options=_plain_csv()) as writer:
        for block in source.store.blocks():
            writer.write_table(_table(block, columns))


def write_parquet(source: Source, folder: Path) -> None:
    """Write one long table as parquet, one row group per shard, the identity in its metadata."""
    columns = table_columns(source.store.feature_names())
    schema = _schema(columns).with_metadata({"affectstack": json.dumps(source.about())})
    with pa.parquet.ParquetWriter(folder / f"{source.name}.parquet", schema) as writer:
        for block in source.store.blocks():
            writer.write_table(_table(block, columns).cast(schema))


def write_hf(source: Source, folder: Path) -> None:
    """Write a folder for `datasets.load_from_disk`: one row per clip."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    form = _hf_features(datasets, source.store.feature_names())
    draft = folder / "draft"  # `datasets` refuses to write where it reads
    draft.mkdir()
    with ArrowWriter(features=form, path=str(draft / "all.arrow")) as writer:
        for block in source.store.blocks():
            writer.write_table(_hf_table(block))
        writer.finalize()
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_file(str(draft / "all.arrow"))
    made.info.description = json.dumps(source.about())
    made.save_to_disk(folder)
    del made
    shutil.rmtree(draft)


def write_h5(source: Source, folder: Path) -> None:
    """Write one file with a dataset per clip; `@intervals/<clip>` and `@valid/<clip>` lie beside them.

    No clip id has an "@" in front, so that these two groups cannot be mistaken for clips.
    """
    with h5py.File(folder / f"{source.name}.h5", "x") as file:
        file.attrs["affectstack"] = json.dumps({k: v for k, v in source.about().items() if k != "identity"})
        for key, features in _clips(source):
            stem = file_stem(key)
            file.create_dataset(stem, data=features.values, track_times=False)
            file.create_dataset(f"@intervals/{stem}", data=features.intervals, track_times=False)
            file.create_dataset(f"@valid/{stem}", data=features.valid, track_times=False)
        file.create_dataset("@feature_names", data=source.store.feature_names(), track_times=False)


def write_action_former(source: Source, folder: Path) -> None:
    """Write what ActionFormer's loaders read; see `pipeline.store.actionformer`."""
    clips = ((file_stem(key), features) for key, features in _clips(source))
    write_actionformer(clips, folder, source.fps)


FORMATS: Mapping[str, Callable[[Source, Path], None]] = {
    "npy": write_npy,
    "csv": write_csv,
    "parquet": write_parquet,
    "hf": write_hf,
    "h5": write_h5,
    "actionformer": write_action_former,
}
# How much larger than its shards an export becomes, about; a decimal number takes 12 bytes, and the Hugging
# Face folder is written twice.
_GROWTH = {"csv": 4.0, "hf": 2.2}


def table_columns(names: list[str]) -> list[str]:
    """Return the names of the feature columns of a table, which has columns of its own.

    Raises:
        ExportError: If two features have one name.
    """
    columns = [f"feature.{n}" if n in _ABOUT_ROWS else n for n in names]
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ExportError(
            f"two features are named {twice[0]!r}, which no table can hold; export as npy, h5 or hf"
        )
    return columns


def _clips(source: Source) -> Iterator[tuple[ClipKey, Any]]:
    return (item for block in source.store.blocks() for item in block.items())


def _schema(columns: list[str]) -> pa.Schema:
    kinds = (pa.string(), pa.string(), pa.int64(), pa.float64(), pa.float64(), pa.bool_())
    own = [pa.field(n, k) for n, k in zip(_ABOUT_ROWS, kinds, strict=True)]
    return pa.schema([*own, *(pa.field(n, pa.float32()) for n in columns)])


def _table(block: Block, columns: list[str]) -> pa.Table:
    counts = np.diff(block.offsets)
    rows = np.arange(len(block.values)) - np.repeat(block.offsets[:-1], counts)
    ids, views = (pa.array([key[i] for key in block.keys]) for i in (0, 1))
    clip = pa.array(np.repeat(np.arange(len(block)), counts))
    own = [ids.take(clip), views.take(clip), rows, *block.intervals.T.copy(), block.valid]
    values = np.ascontiguousarray(block.values.T)
    return pa.Table.from_arrays([*map(pa.array, own), *map(pa.array, values)], schema=_schema(columns))


def _plain_csv() -> "pa.csv.WriteOptions":
    return pa.csv.WriteOptions(quoting_style="needed")


def _hf_features(datasets: Any, names: list[str]) -> Any:
    number = datasets.Value
    return datasets.Features(
        {
            "clip_id": number("string"),
            "view": number("string"),
            "values": datasets.List(datasets.List(number("float32"), length=len(names))),
            "intervals": datasets.List(datasets.List(number("float64"), length=2)),
            "valid": datasets.List(number("bool")),
        }
    )


def _hf_table(block: Block) -> pa.Table:
    def rows(array: NDArray[Any]) -> pa.Array:
        """One list of rows per clip."""
        items = pa.array(array.reshape(-1))
        if array.ndim == 2:
            items = pa.FixedSizeListArray.from_arrays(items, array.shape[1])
        return pa.ListArray.from_arrays(pa.array(block.offsets, pa.int32()), items)

    ids, views = zip(*block.keys, strict=True)
    return pa.table(
        {
            "clip_id": pa.array(ids),
            "view": pa.array(views),
            "values": rows(block.values),
            "intervals": rows(block.intervals),
            "valid": rows(block.valid),
        }
    )


def _refuse_occupied(out: Path, force: bool) -> None:
    """Refuse to write over anything but an earlier export, and that only if asked to."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out.is_dir() and (out / NOTE).is_file()):
        raise ExportError(f"{out} exists and is no earlier export; name another folder")
    if not force:
        raise ExportError(f"{out} holds an earlier export; name another folder, or replace it with --force")


def _refuse_small_disk(source: Source, form: str, folder: Path) -> None:
    needed, free = int(source.store.nbytes * _GROWTH.get(form, 1.1)), shutil.disk_usage(folder).free
    if needed > free:
        raise ExportError(
            f"{folder.parent}: about {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        )


@contextmanager
def _published(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`, which takes its place if nothing goes wrong."""
    unique = f"{os.getpid()}-{uuid.uuid4().hex}"
    draft, old = (out.with_name(f".{out.name}.{unique}.{end}") for end in ("tmp", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if out.exists():
            out.rename(old)
        _bring(draft, out, old)
    except OSError as error:
        raise WriteError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _bring(draft: Path, out: Path, old: Path) -> None:
    """Give a folder its name, or the old one its name back."""
    try:
        draft.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
