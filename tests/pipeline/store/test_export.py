import csv
import json
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from shelf import IDENTITY, NAMES, assert_equal, features, put

from affectstack import __version__
from extractors import Features
from pipeline.files import WriteError
from pipeline.store import ClipKey, Failure, FeatureStore, identity_sha256, shard_name
from pipeline.store import export as module
from pipeline.store.actionformer import TimeGridError
from pipeline.store.export import FORMATS, ExportError, Source, export, file_stem, table_columns
from pipeline.store.opening import Shard

CLIPS: dict[ClipKey, Features] = {
    ("one", ""): features(2),
    ("two", "left"): features(5, 1),
    ("two", "right"): features(4, 2),
    ("three.b", ""): features(1, 3),
}
STEMS = {file_stem(key): clip for key, clip in CLIPS.items()}


def source(folder: Path, clips: dict[ClipKey, Features] = CLIPS, **options: Any) -> Source:
    """Make a store of two shards."""
    items = list(clips.items())
    put(folder / "store" / shard_name(0), items[:3], failures=[Failure("bad", "", "E", "m")], **options)
    put(folder / "store" / shard_name(1), items[3:], **options)
    store = FeatureStore(folder / "store")
    return Source("voice", store, "features/x/y", IDENTITY, identity_sha256(IDENTITY), True, 1)


def test_npy_is_one_array_per_clip(tmp_path: Path) -> None:
    out = export(source(tmp_path), "npy", tmp_path / "out")
    for stem, clip in STEMS.items():
        values = np.load(out / f"{stem}.npy", allow_pickle=False)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, clip.values)
    with (out / "index.csv").open(newline="") as file:
        index = list(csv.reader(file))
    assert index[:3] == [
        ["clip_id", "view", "rows", "start", "end", "valid_rows"],
        ["one", "", "2", "0.0", "1.0", "1"],
        ["two", "left", "5", "0.0", "2.5", "3"],
    ]
    assert (out / "feature_names.txt").read_text().split("\n") == [*NAMES, ""]
    assert len(list(out.iterdir())) == len(CLIPS) + 3


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_have_one_row_per_row(tmp_path: Path, form: str) -> None:
    out = export(source(tmp_path), form, tmp_path / "out")
    path = out / f"voice.{form}"
    table = pd.read_csv(path, keep_default_na=False) if form == "csv" else pd.read_parquet(path)
    assert list(table) == ["clip_id", "view", "row", "start", "end", "valid", *NAMES]
    assert len(table) == 12
    for (clip_id, view), clip in CLIPS.items():
        rows = table[(table["clip_id"] == clip_id) & (table["view"] == view)]
        assert rows["row"].tolist() == list(range(len(clip.values)))
        ours = Features(
            rows[list(NAMES)].to_numpy(np.float32),
            rows[["start", "end"]].to_numpy(),
            rows["valid"].to_numpy(),
        )
        assert_equal(ours, clip)


def test_parquet_carries_the_identity_and_one_group_per_shard(tmp_path: Path) -> None:
    out = export(source(tmp_path), "parquet", tmp_path / "out")
    found = pq.ParquetFile(out / "voice.parquet")
    assert found.num_row_groups == 2
    about = json.loads(found.schema_arrow.metadata[b"affectstack"])
    assert about["identity"] == IDENTITY
    assert about["untrained"] is True


def test_features_named_like_our_columns_get_a_prefix_and_twins_are_refused(tmp_path: Path) -> None:
    assert table_columns(["start", "f0"]) == ["feature.start", "f0"]
    with pytest.raises(ExportError, match=r"two features are named 'a', .* export as npy, h5 or hf"):
        export(source(tmp_path, names=("a", "b", "a")), "csv", tmp_path / "out")


def test_hugging_face_loads_one_row_per_clip(tmp_path: Path) -> None:
    out = export(source(tmp_path), "hf", tmp_path / "out")
    found = datasets.load_from_disk(str(out))
    assert found.column_names == ["clip_id", "view", "values", "intervals", "valid"]
    assert len(found) == len(CLIPS)
    for i, ((clip_id, view), clip) in enumerate(CLIPS.items()):
        row = found[i]
        assert (row["clip_id"], row["view"]) == (clip_id, view)
        ours = Features(
            np.array(row["values"], np.float32), np.array(row["intervals"]), np.array(row["valid"])
        )
        assert_equal(ours, clip)
    assert found.with_format("numpy")[1]["values"].shape == (5, 3)
    assert json.loads(found.info.description)["identity"] == IDENTITY
    assert not list(out.glob("draft*"))


def test_h5_has_one_dataset_per_clip(tmp_path: Path) -> None:
    out = export(source(tmp_path), "h5", tmp_path / "out")
    with h5py.File(out / "voice.h5") as file:
        assert {name for name in file if not name.startswith("@")} == set(STEMS)
        for stem, clip in STEMS.items():
            ours = Features(file[stem][:], file["@intervals"][stem][:], file["@valid"][stem][:])
            assert ours.values.dtype == np.float32
            assert_equal(ours, clip)
        assert file["@feature_names"].asstr()[:].tolist() == list(NAMES)
        assert json.loads(file.attrs["affectstack"])["identity_sha256"] == identity_sha256(IDENTITY)


def timed(starts: list[float], window: float = 1.0) -> Features:
    """Return features of some windows."""
    intervals = np.column_stack([starts, np.add(starts, window)])
    rows = len(starts)
    return Features(np.ones((rows, 3), np.float32), intervals, np.ones(rows, bool))


def test_actionformer_finds_the_right_times(tmp_path: Path) -> None:
    clips = {("a", ""): timed([0.0, 0.4, 0.8]), ("b", ""): timed([10.0, 10.4]), ("c", ""): timed([0.2], 0.3)}
    out = export(source(tmp_path, clips), "actionformer", tmp_path / "out")
    meta = json.loads((out / "meta.json").read_text())
    assert meta["fps"] == 30.0
    assert meta["feat_stride"] == pytest.approx(12)
    assert meta["num_frames"] == pytest.approx(30)
    assert (meta["hop_seconds"], meta["window_seconds"]) == pytest.approx((0.4, 1.0))
    assert meta["first_row_centre_seconds"] == pytest.approx(0.5)
    assert meta["clips"]["b"]["start_seconds"] == 10
    assert meta["clips"]["b"]["duration"] == pytest.approx(1.4)
    for stem, clip in (("a", clips["a", ""]), ("b", clips["b", ""])):
        assert np.load(out / f"{stem}.npy").shape == clip.values.shape
        # The loader's own arithmetic: the centre of row i must come out as i.
        centres = clip.intervals.mean(axis=1) - meta["clips"][stem]["start_seconds"]
        places = (centres * meta["fps"] - 0.5 * meta["num_frames"]) / meta["feat_stride"]
        np.testing.assert_allclose(places, np.arange(len(centres)), atol=1e-9)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({"a": timed([0.0, 0.4, 1.2])}, r"clip a: row 1 begins at 0.400 s; equal steps of 0.600 s"),
        ({"a": timed([0.0, 0.0])}, "clip a: row 1 begins at 0.000 s"),
        ({"a": timed([0.0]), "b": timed([1.0])}, "every clip has one row"),
        (
            {"a": timed([0.0, 0.4, 0.8]), "b": timed([0.0, 0.5])},
            "clip b has windows of 1.000 s every 0.500 s",
        ),
        ({"a": timed([0.0, 0.4, 0.8]), "b": timed([0.0, 0.4], 2.0)}, "clip b has windows of 2.000 s"),
    ],
)
def test_actionformer_refuses_other_grids(tmp_path: Path, clips: dict[str, Features], message: str) -> None:
    with pytest.raises(TimeGridError, match=message):
        export(source(tmp_path, {(k, ""): v for k, v in clips.items()}), "actionformer", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_actionformer_finds_the_times_of_windows_that_begin_before_the_clip(tmp_path: Path) -> None:
    """Windows around every fifth frame of 25 a second: the first is centred on the beginning of the clip."""
    clips = {("a", ""): timed([i * 0.2 - 0.5 for i in range(20)])}
    out = export(source(tmp_path, clips), "actionformer", tmp_path / "out")
    meta = json.loads((out / "meta.json").read_text())
    own = meta["clips"]["a"]
    assert own["start_seconds"] == pytest.approx(-0.5)
    for time, row in ((0.0, 0.0), (0.2, 1.0), (3.8, 19.0)):
        place = ((time - own["start_seconds"]) * meta["fps"] - 0.5 * meta["num_frames"]) / meta["feat_stride"]
        assert place == pytest.approx(row)


def test_the_published_time_vector(tmp_path: Path) -> None:
    """One window of six frames a second, six a second: 10 s lie at row 9.5 (SYSTEMS 8)."""
    clips = {("a", ""): timed([float(i) for i in range(20)])}
    written = export(source(tmp_path, clips), "actionformer", tmp_path / "out") / "meta.json"
    meta = json.loads(written.read_text())
    scale = 6 / meta["fps"]
    stride, frames = meta["feat_stride"] * scale, meta["num_frames"] * scale
    assert (stride, frames) == pytest.approx((6, 6))
    assert (10 * 6 - 0.5 * frames) / stride == pytest.approx(9.5)


def test_actionformer_takes_times_in_whole_milliseconds(tmp_path: Path) -> None:
    clips = {("a", ""): timed([round(i / 60, 3) for i in range(100)])}
    out = export(source(tmp_path, clips), "actionformer", tmp_path / "out")
    assert json.loads((out / "meta.json").read_text())["feat_stride"] == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("form", FORMATS)
def test_every_export_says_where_it_comes_from(tmp_path: Path, form: str) -> None:
    out = export(source(tmp_path), form, tmp_path / "out")
    assert json.loads((out / "export.json").read_text()) == {
        "affectstack": __version__,
        "feature": "voice",
        "format": form,
        "source": "features/x/y",
        "identity": IDENTITY,
        "identity_sha256": identity_sha256(IDENTITY),
        "untrained": True,
        "clips": 4,
        "failed": 1,
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


@pytest.mark.parametrize("part", ["a/b", "..", ".", "", "x" * 129, "a\0", "ü", "a b", "@", "/etc/passwd"])
@pytest.mark.parametrize("place", ["clip_id", "view"])
def test_ids_that_are_no_plain_names_never_become_file_names(tmp_path: Path, part: str, place: str) -> None:
    if place == "view" and part == "":
        pytest.skip("no view is a view")
    key = (part, "") if place == "clip_id" else ("one", part)
    with pytest.raises(ExportError, match="is no clip id or view"):
        file_stem(key)


@pytest.mark.parametrize("form", FORMATS)
def test_a_store_with_an_odd_id_is_refused_before_anything_is_written(tmp_path: Path, form: str) -> None:
    with pytest.raises(ExportError, match=r"'\.\./evil' is no clip id"):
        export(source(tmp_path, {("../evil", ""): features(1)}), form, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_a_feature_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no clips; see failures"):
        export(source(tmp_path, {}), "npy", tmp_path / "out")


def test_an_earlier_export_is_replaced_only_if_asked(tmp_path: Path) -> None:
    out = export(source(tmp_path), "npy", tmp_path / "out")
    with pytest.raises(ExportError, match=r"holds an earlier export; .* --force"):
        export(source(tmp_path), "csv", out)
    assert (out / "one.npy").exists()
    export(source(tmp_path), "csv", out, force=True)
    assert sorted(p.name for p in out.iterdir()) == ["export.json", "voice.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


@pytest.mark.parametrize("make", [Path.touch, lambda p: (p.mkdir(), (p / "thesis.txt").touch())])
def test_what_is_no_export_is_never_replaced(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "out")
    with pytest.raises(ExportError, match="exists and is no earlier export"):
        export(source(tmp_path), "npy", tmp_path / "out", force=True)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(source(tmp_path), "csv", tmp_path / "out")
    assert (tmp_path / "out/voice.csv").exists()


def test_a_failed_export_leaves_the_earlier_one_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export(source(tmp_path), "npy", tmp_path / "out")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(WriteError, match=r"cannot write .*out: No space left"):
        export(source(tmp_path), "npy", out, force=True)
    assert (out / "one.npy").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


def test_a_swap_that_fails_brings_the_earlier_export_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export(source(tmp_path), "npy", tmp_path / "out")
    rename = os.rename

    def refuse(old: Path, new: Path) -> None:
        if str(old).endswith(".tmp"):
            raise OSError(13, "Permission denied")
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(WriteError, match="Permission denied"):
        export(source(tmp_path), "csv", out, force=True)
    assert (out / "one.npy").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


def test_a_small_disk_is_noticed_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(ExportError, match="MB are needed, 0 MB are free"):
        export(source(tmp_path), "h5", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


@pytest.mark.parametrize("form", FORMATS)
def test_few_shards_are_in_memory_at_once(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [(f"c{i}", "") for i in range(8)]
    for i, key in enumerate(clips):
        put(tmp_path / "store" / shard_name(i), [(key, features(3, i))])
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = []
    blocks = FeatureStore.blocks

    def count(self: FeatureStore) -> Any:
        for block in blocks(self):
            alive.add(block.values)
            most.append(len(alive))
            yield block

    class Array(np.ndarray):
        """An array that is hashed by what it is, so that a set can hold it."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    read = Shard.read
    monkeypatch.setattr(Shard, "read", lambda self: replace(read(self), values=read(self).values.view(Array)))
    monkeypatch.setattr(FeatureStore, "blocks", count)
    store = FeatureStore(tmp_path / "store")
    export(Source("voice", store, "x", IDENTITY, "f", False, 0), form, tmp_path / "out")
    assert max(most) <= 3
