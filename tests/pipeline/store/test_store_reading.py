import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shelf import IDENTITY, NAMES, assert_equal, clips, features, open_files, overwrite, put, tamper

from extractors import Features
from pipeline.files import publish_json, read_json
from pipeline.store import (
    ClipKey,
    Failure,
    FeatureStore,
    StoreCorruptError,
    StoreError,
    identity_sha256,
    read_record,
    record_path,
    shard_name,
)
from pipeline.store import reading as module
from pipeline.store.layout import ENCODING_VERSION


@pytest.fixture
def items() -> dict[ClipKey, Features]:
    return {(f"c{i:02d}", "left" if i == 3 else ""): features(1 + i % 5, i) for i in range(20)}


@pytest.fixture
def folder(tmp_path: Path, items: dict[ClipKey, Features]) -> Path:
    """Twenty clips in five shards, and a record of failures between them."""
    pairs = list(items.items())
    for i in range(5):
        put(tmp_path / shard_name(i + (i > 1)), pairs[4 * i : 4 * i + 4])
    put(tmp_path / shard_name(2), [], failures=[Failure("bad", "", "E", "m")])
    return tmp_path


@pytest.mark.parametrize("kept", [0, 10**9])
def test_every_clip_can_be_read_in_any_order(folder: Path, items: dict[ClipKey, Features], kept: int) -> None:
    store = FeatureStore(folder, kept_bytes=kept)
    assert list(store) == list(items)
    assert len(store) == 20
    assert ("c03", "left") in store
    assert ("c03", "") not in store
    for key in sorted(items, key=lambda k: hash(k[0][::-1])):
        assert_equal(store[key], items[key])
    store.close()


def test_a_folder_may_be_named_by_a_string(folder: Path, items: dict[ClipKey, Features]) -> None:
    store = FeatureStore(str(folder))
    assert_equal(store["c00", ""], items["c00", ""])
    store.close()


def test_a_disk_that_cannot_be_read_is_told_as_a_damaged_shard(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(folder, kept_bytes=0)
    assert len(store["c00", ""].values)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(StoreCorruptError, match=r"shard-00000.h5: damaged \(values: .*Input/output error"):
        store["c00", ""]
    store.close()


def test_a_clip_keeps_no_more_than_twice_its_size_alive(tmp_path: Path) -> None:
    put(tmp_path / shard_name(0), [((f"c{i}", ""), features(3, i)) for i in range(2000)])
    store = FeatureStore(tmp_path, kept_bytes=0)
    kept = store["c7", ""]
    for part in (kept.values, kept.intervals, kept.valid):
        alive = part if part.base is None else part.base
        assert alive.nbytes <= 2 * part.nbytes
    store.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.integers(1, 300), min_size=1, max_size=10),
    dim=st.integers(1, 900),
    per_shard=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_random_access_equals_bulk_access(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], dim: int, per_shard: int, order: object
) -> None:
    folder = tmp_path_factory.mktemp("store")
    made = [((f"c{i}", ""), features(n, i, dim)) for i, n in enumerate(rows)]
    for first in range(0, len(made), per_shard):
        put(folder / shard_name(first), made[first : first + per_shard], names=[f"f{i}" for i in range(dim)])
    from_files, kept = FeatureStore(folder, kept_bytes=0), FeatureStore(folder)
    bulk = {key: found for block in FeatureStore(folder).blocks() for key, found in block.items()}
    keys = list(bulk)
    order.shuffle(keys)  # type: ignore[attr-defined]
    for key in keys:
        assert_equal(from_files[key], bulk[key])
        assert_equal(kept[key], bulk[key])
    assert dict(made).keys() == bulk.keys()
    from_files.close()


def test_blocks_come_in_the_order_of_the_shards(folder: Path, items: dict[ClipKey, Features]) -> None:
    names = [shard_name(i) for i in (5, 0, 2)]
    store = FeatureStore(folder, names, identity_sha256(IDENTITY))
    keys = [key for block in store.blocks() for key in block.keys]
    assert keys == [*list(items)[16:], *list(items)[:4]]
    assert len(store) == 8


def test_what_was_touched_stays_in_memory(folder: Path) -> None:
    store = FeatureStore(folder)
    first = store["c00", ""]
    (folder / shard_name(0)).unlink()
    assert store["c01", ""] is not None
    assert next(store.blocks()).values.base is first.values.base or next(store.blocks())[0].values is not None


def test_few_files_stay_open(
    folder: Path, items: dict[ClipKey, Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_FILES", 2)
    before = open_files()
    store = FeatureStore(folder, kept_bytes=0)
    for key in [*items, *items]:
        assert_equal(store[key], items[key])
        assert open_files() <= before + 2
    store.close()
    assert open_files() == before


def test_an_unknown_clip_is_a_key_error(folder: Path) -> None:
    with pytest.raises(KeyError):
        FeatureStore(folder)["nobody", ""]


@pytest.mark.parametrize("kept", [0, 10**9])
def test_a_damaged_shard_is_refused_when_it_is_needed(folder: Path, kept: int) -> None:
    path = folder / shard_name(1)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    overwrite(path, bytes(data))
    store = FeatureStore(folder, kept_bytes=kept)
    assert store["c00", ""] is not None
    with pytest.raises(StoreCorruptError, match="changed since it was written"):
        store["c04", ""]
    with pytest.raises(StoreCorruptError, match="changed since it was written"):
        list(store.blocks())


@pytest.mark.parametrize("text", [None, "{}"])
def test_an_absent_or_damaged_record_is_refused(folder: Path, text: str | None) -> None:
    record_path(folder / shard_name(1)).unlink()
    if text is not None:
        record_path(folder / shard_name(1)).write_text(text)
    with pytest.raises(StoreCorruptError, match="its record is absent or damaged"):
        FeatureStore(folder, [shard_name(0), shard_name(1)])


def test_another_identity_is_refused(folder: Path) -> None:
    store = FeatureStore(folder, None, "0" * 64)
    with pytest.raises(StoreError, match="made by another extractor"):
        store["c00", ""]


def change_record(path: Path, **fields: object) -> None:
    """Change a record; only one who forges it does so."""
    document = read_json(record_path(path))
    assert document is not None
    publish_json(record_path(path), document | fields)


@pytest.mark.parametrize("kept", [0, 10**9])
def test_a_shard_of_other_clips_than_its_record_says_is_refused(folder: Path, kept: int) -> None:
    change_record(folder / shard_name(0), ids=["c01", "c00", "c02", "c03"])
    store = FeatureStore(folder, kept_bytes=kept)
    before = open_files()
    with pytest.raises(StoreCorruptError, match="holds other clips than its record says"):
        store["c00", ""]
    assert open_files() == before


def test_a_forged_identity_in_the_record_does_not_help(folder: Path) -> None:
    change_record(folder / shard_name(0), identity_sha256="0" * 64)
    with pytest.raises(StoreError, match="made by another extractor"):
        FeatureStore(folder)["c00", ""]


def test_a_clip_in_two_shards_is_refused(folder: Path) -> None:
    put(folder / shard_name(9), clips()[:1])
    put(folder / shard_name(10), clips())
    with pytest.raises(StoreCorruptError, match=r"a clip is in two shards; run .*store verify"):
        FeatureStore(folder)


def test_feature_names_come_from_the_first_shard_with_clips(folder: Path, tmp_path: Path) -> None:
    assert FeatureStore(folder, [shard_name(2), shard_name(0)]).feature_names() == list(NAMES)
    with pytest.raises(StoreError, match="every clip failed"):
        FeatureStore(folder, [shard_name(2)]).feature_names()


def test_a_tampered_shard_is_refused_although_hdf5_reads_it(folder: Path) -> None:
    tamper(folder / shard_name(0), lambda file: file["values"].__setitem__((0, 0), 9))
    with pytest.raises(StoreCorruptError, match="changed since it was written"):
        FeatureStore(folder)["c00", ""]


ARCHIVES = sorted((Path(__file__).parents[2] / "data/archives").glob("v*/"))


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
@pytest.mark.parametrize("kept", [0, 10**9])
def test_shards_of_earlier_releases_give_the_same_values(archive: Path, kept: int) -> None:
    words = json.loads((archive / "expected.json").read_text(encoding="utf-8"))
    with np.load(archive / "expected.npz", allow_pickle=False) as arrays:
        for name, expected in words.items():
            store = FeatureStore(archive / name, None, identity_sha256(expected["identity"]), kept_bytes=kept)
            assert store.feature_names() == expected["feature_names"]
            assert [list(key) for key in store] == expected["clips"]
            for clip_id, view in store:
                parts = (arrays[f"{name}/{clip_id}/{view}/{p}"] for p in ("values", "intervals", "valid"))
                assert_equal(store[clip_id, view], Features(*parts))


def test_the_archive_of_this_format_is_there() -> None:
    assert f"v{ENCODING_VERSION}" in [path.name for path in ARCHIVES]
    records = [read_record(p.with_suffix(".h5")) for p in sorted(ARCHIVES[0].glob("*/shard-*.json"))]
    assert [len(r.failures) for r in records if r] == [1, 0, 1, 0]
    assert [r.silent for r in records if r] == [["take-2"], [], [], []]
    assert all(r.seen_subjects == ["s1"] for r in records if r)
