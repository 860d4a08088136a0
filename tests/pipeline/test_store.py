import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from extractors import Features
from extractors.contract import BadFeaturesError
from pipeline.store import (
    ClipKey,
    Failure,
    StoreError,
    identity_sha256,
    read_record,
    read_shard,
    record_path,
    shard_is_intact,
    write_shard,
)

IDENTITY = {"extractor": "fake", "layer": 3}
NAMES = ("a", "b", "c")


def features(rows: int, seed: int = 0) -> Features:
    values = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    edges = np.arange(rows + 1, dtype=np.float64)
    valid = np.arange(rows) % 2 == 0
    return Features(values, np.column_stack([edges[:-1], edges[1:]]), valid)


def clips() -> list[tuple[ClipKey, Features]]:
    return [(("one", ""), features(2)), (("two", "left"), features(5, 1)), (("three", ""), features(1, 2))]


def test_a_shard_gives_back_what_was_written(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard-0.h5", clips(), IDENTITY, NAMES, planned_sha256="p")
    back = dict(read_shard(tmp_path / "shard-0.h5", identity_sha256(IDENTITY)))
    for key, wanted in clips():
        np.testing.assert_array_equal(back[key].values, wanted.values)
        np.testing.assert_array_equal(back[key].intervals, wanted.intervals)
        np.testing.assert_array_equal(back[key].valid, wanted.valid)


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.h5", clips(), IDENTITY, NAMES, planned_sha256="p")
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["values"].shape == (8, 3)
        assert file["values"].dtype == np.float32
        assert file["intervals"].shape == (8, 2)
        assert file["intervals"].dtype == np.float64
        assert file["valid"].dtype == bool
        assert file["offsets"][:].tolist() == [0, 2, 7, 8]
        assert file["clip_id"].asstr()[:].tolist() == ["one", "two", "three"]
        assert file["view"].asstr()[:].tolist() == ["", "left", ""]
        assert file["values"].fletcher32
        assert file.attrs["encoding-type"] == "affectstack-features"
        assert file.attrs["encoding-version"] == 1
        assert file.attrs["dim"] == 3


def test_the_same_clips_give_the_same_bytes_and_the_record_knows_them(tmp_path: Path) -> None:
    first = write_shard(tmp_path / "a.h5", clips(), IDENTITY, NAMES, planned_sha256="p")
    second = write_shard(tmp_path / "b.h5", clips(), IDENTITY, NAMES, planned_sha256="p")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert first == second == read_record(tmp_path / "a.h5")
    assert first.sha256 == hashlib.sha256((tmp_path / "a.h5").read_bytes()).hexdigest()
    assert first.rows == 8
    assert not (tmp_path / "a.h5").stat().st_mode & 0o222


@pytest.mark.parametrize("position", [0.0, 0.2, 0.5, 0.8, 0.999])
def test_any_flipped_byte_is_seen(tmp_path: Path, position: float) -> None:
    path = tmp_path / "s.h5"
    record = write_shard(path, clips(), IDENTITY, NAMES, planned_sha256="p")
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    assert not shard_is_intact(path, record)


@pytest.mark.parametrize("length", [0, 1, 500, 2000])
def test_a_cut_shard_is_a_readable_error(tmp_path: Path, length: int) -> None:
    path = tmp_path / "s.h5"
    write_shard(path, clips(), IDENTITY, NAMES, planned_sha256="p")
    data = path.read_bytes()[:length]
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"s\.h5: damaged .*pipeline\.extract"):
        list(read_shard(path, identity_sha256(IDENTITY)))


def test_an_absent_shard_is_not_intact(tmp_path: Path) -> None:
    record = write_shard(tmp_path / "s.h5", clips(), IDENTITY, NAMES, planned_sha256="p")
    (tmp_path / "s.h5").unlink()
    assert not shard_is_intact(tmp_path / "s.h5", record)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("encoding-version", 2, "encoding-version is 2; this affectstack reads 1. Upgrade"),
        ("encoding-type", "other", "encoding-type is 'other'; expected 'affectstack-features'"),
        ("identity-sha256", "0", "made by another extractor"),
    ],
)
def test_a_foreign_shard_is_refused(tmp_path: Path, attribute: str, value: object, message: str) -> None:
    path = tmp_path / "s.h5"
    write_shard(path, clips(), IDENTITY, NAMES, planned_sha256="p")
    path.chmod(0o644)
    with h5py.File(path, "r+") as file:
        file.attrs[attribute] = value
    with pytest.raises(StoreError, match=message):
        list(read_shard(path, identity_sha256(IDENTITY)))


def test_bad_features_are_not_stored_and_the_clip_is_named(tmp_path: Path) -> None:
    bad = features(2)
    bad.values[1, 2] = np.inf
    with pytest.raises(BadFeaturesError, match="row 1, column 2") as caught:
        write_shard(tmp_path / "s.h5", [(("one", ""), bad)], IDENTITY, NAMES, planned_sha256="p")
    assert caught.value.__notes__ == ["in clip one"]
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_failures_is_a_record_alone(tmp_path: Path) -> None:
    failed = Failure("one", "", "DecodeError", "why")
    record = write_shard(tmp_path / "s.h5", [], IDENTITY, NAMES, planned_sha256="p", failures=[failed])
    assert not (tmp_path / "s.h5").exists()
    assert shard_is_intact(tmp_path / "s.h5", record)
    assert read_record(tmp_path / "s.h5") == record


@pytest.mark.parametrize("text", ["", "{}", '{"clips": 3}', "[]"])
def test_a_damaged_record_reads_as_absent(tmp_path: Path, text: str) -> None:
    record_path(tmp_path / "s.h5").write_text(text)
    assert read_record(tmp_path / "s.h5") is None


def test_ten_thousand_feature_names_fit(tmp_path: Path) -> None:
    names = [f"a_rather_long_feature_name_{i}" for i in range(10_000)]
    wide = Features(np.zeros((1, 10_000), np.float32), np.zeros((1, 2)), np.ones(1, bool))
    write_shard(tmp_path / "s.h5", [(("one", ""), wide)], IDENTITY, names, planned_sha256="p")
    with h5py.File(tmp_path / "s.h5") as file:
        assert [n.decode() for n in file["feature_names"][:]] == names
