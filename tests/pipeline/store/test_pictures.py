"""Pictures of rows: what is written comes back, and what was made up is refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shelf import IDENTITY, clips, features, overwrite, put, stored_checksum, tamper

from pipeline.store import (
    FeatureStore,
    StoreCorruptError,
    StoreUnsafeError,
    decode,
    identity_sha256,
    record_path,
    shard_name,
)
from pipeline.store.maintenance import Use, verify
from pipeline.store.opening import open_shard

FILES = [(b"one", b""), None, (b"two and more",)]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """The three clips of the shelf; the second one has no pictures."""
    items = [(key, replace(f, pictures=p)) for (key, f), p in zip(clips(), FILES, strict=True)]
    put(tmp_path / shard_name(0), items)
    return tmp_path / shard_name(0)


def test_pictures_are_two_more_columns_that_anybody_can_read(shard: Path) -> None:
    with h5py.File(shard) as file:
        places = file["picture_offsets"][:].tolist()
        assert places == [0, 3, 3, 3, 3, 3, 3, 3, 15]
        assert file["pictures"][places[7] : places[8]].tobytes() == b"two and more"
        others = [n for n in file if n != "checksums"]
        assert len(file["checksums"]) == len(others) == 9
        assert set(file["checksums"][:].tolist()) == {stored_checksum(file[n].id) for n in others}


def test_every_clip_gets_its_own(shard: Path) -> None:
    store = FeatureStore(shard.parent)
    assert store.with_pictures(("one", "")).pictures == (b"one", b"")
    assert store.with_pictures(("two", "left")).pictures == (b"",) * 5
    assert store.with_pictures(("three", "")).pictures == (b"two and more",)
    assert store["one", ""].pictures is None  # who trains heads does not read them
    np.testing.assert_array_equal(store.with_pictures(("one", "")).values, store["one", ""].values)
    store.close()


def test_a_shard_without_any_has_no_column(tmp_path: Path) -> None:
    put(tmp_path / shard_name(0), [(("one", ""), replace(features(2), pictures=(b"", b"")))])
    with h5py.File(tmp_path / shard_name(0)) as file:
        assert "pictures" not in file
    store = FeatureStore(tmp_path)
    assert store.with_pictures(("one", "")).pictures is None
    store.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5), min_size=1, max_size=5))
def test_whatever_is_stored_comes_back(tmp_path: Path, files: list[list[bytes]]) -> None:
    path = tmp_path / shard_name(0)
    path.unlink(missing_ok=True)
    items = [((f"c{i}", ""), replace(features(len(own)), pictures=tuple(own))) for i, own in enumerate(files)]
    put(path, items)
    with open_shard(path) as shard:
        for i, own in enumerate(files):
            assert (shard.pictures(i) or (b"",) * len(own)) == tuple(own)


@pytest.mark.parametrize("name", ["pictures", "picture_offsets"])
def test_a_flipped_byte_is_seen(shard: Path, name: str) -> None:
    with h5py.File(shard) as file:
        place = file[name].id.get_chunk_info(0)
    changed = bytearray(shard.read_bytes())
    changed[place.byte_offset] ^= 1
    overwrite(shard, bytes(changed))
    with (
        pytest.raises(StoreCorruptError, match=f"{name}: the checksum of chunk 0 does not fit"),
        open_shard(shard) as opened,
    ):
        opened.pictures(0)


@pytest.mark.parametrize(
    "places", [[0, 3, 2, 3, 3, 3, 3, 3, 15], [-1, 3, 3, 3, 3, 3, 3, 3, 15], [0] * 8 + [16]]
)
def test_places_outside_of_the_pictures_are_refused(shard: Path, places: list[int]) -> None:
    def change(file: h5py.File) -> None:
        file["picture_offsets"][...] = places
        sums = file["checksums"][:]
        sums[8] = stored_checksum(file["picture_offsets"].id)
        file["checksums"][...] = sums

    tamper(shard, change)
    with (
        pytest.raises(StoreCorruptError, match="picture_offsets do not rise within"),
        open_shard(shard) as opened,
    ):
        for i in range(3):
            opened.pictures(i)


def test_one_column_without_the_other_is_refused(shard: Path) -> None:
    tamper(shard, lambda file: file.__delitem__("picture_offsets"))
    with pytest.raises(StoreUnsafeError, match="expected"):
        decode(shard)


def test_places_of_other_rows_are_refused(shard: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["picture_offsets"]
        file.create_dataset("picture_offsets", data=np.zeros(3, np.int64), chunks=(3,), fletcher32=True)

    tamper(shard, change)
    with pytest.raises(StoreUnsafeError, match=r"picture_offsets is \[3\]; expected \[9\]"):
        decode(shard)


def test_a_clips_shard_can_be_told_from_others(shard: Path) -> None:
    put(shard.with_name(shard_name(1)), [(("four", ""), features(2, 9))])
    store = FeatureStore(shard.parent)
    assert store.sha256_of(("one", "")) == store.sha256_of(("three", "")) != store.sha256_of(("four", ""))
    assert store.sha256_of(("five", "")) == ""
    store.close()


def test_verify_looks_at_pictures_too(shard: Path) -> None:
    def change(file: h5py.File) -> None:
        file["picture_offsets"][...] = [0, 3, 2, 3, 3, 3, 3, 3, 15]
        sums = file["checksums"][:]
        sums[8] = stored_checksum(file["picture_offsets"].id)
        file["checksums"][...] = sums

    assert verify(use_of(shard)) == []
    tamper(shard, change)
    record = json.loads(record_path(shard).read_text())
    record_path(shard).chmod(0o644)
    data = shard.read_bytes()
    changed = {**record, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    record_path(shard).write_text(json.dumps(changed))
    (problem,) = verify(use_of(shard))
    assert "picture_offsets do not rise within the pictures" in problem


def use_of(shard: Path) -> Use:
    return Use("x", shard.parent, [shard.name], identity_sha256(IDENTITY), False, "extract")
