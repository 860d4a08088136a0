import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from shelf import overwrite, put

from pipeline.store import Failure, Record, StoreCorruptError, Verified
from pipeline.store import verified as module


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return tmp_path / "shard-00000.h5"


@pytest.fixture
def record(shard: Path) -> Record:
    return put(shard)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose sha256 was computed."""
    names, real = [], module.file_sha256

    def watch(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(module, "file_sha256", watch)
    return names


def test_a_shard_is_hashed_once(shard: Path, record: Record, hashed: list[str]) -> None:
    first = Verified(shard.parent)
    assert first.holds(shard, record)
    assert first.holds(shard, record)
    first.save()
    assert Verified(shard.parent).holds(shard, record)
    assert hashed == [shard.name]


def test_nothing_is_kept_that_was_not_saved(shard: Path, record: Record, hashed: list[str]) -> None:
    Verified(shard.parent).holds(shard, record)
    Verified(shard.parent).holds(shard, record)
    assert len(hashed) == 2


def test_a_touched_shard_is_hashed_again(shard: Path, record: Record, hashed: list[str]) -> None:
    known = Verified(shard.parent)
    known.holds(shard, record)
    os.utime(shard, ns=(1, 1))
    assert known.holds(shard, record)
    assert len(hashed) == 2


def test_a_changed_shard_with_its_old_times_is_hashed_again(shard: Path, record: Record) -> None:
    known = Verified(shard.parent)
    known.holds(shard, record)
    times = shard.stat()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    os.utime(shard, ns=(1, 1))
    while shard.stat().st_ctime_ns == times.st_ctime_ns:  # the clock of the file system is coarse
        os.utime(shard, ns=(1, 1))
    overwrite(shard, bytes(data))
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not known.holds(shard, record)


def test_another_record_is_looked_at_again(shard: Path, record: Record) -> None:
    known = Verified(shard.parent)
    assert known.holds(shard, record)
    other = Record(**{**record.__dict__, "sha256": "0" * 64})
    assert not known.holds(shard, other)


def test_looking_again_trusts_nothing(shard: Path, record: Record, hashed: list[str]) -> None:
    known = Verified(shard.parent)
    known.holds(shard, record)
    assert known.look_again(shard, record)
    assert len(hashed) == 2


def test_what_is_damaged_is_forgotten(shard: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Verified(shard.parent)
    known.holds(shard, record)
    known.save()
    monkeypatch.setattr(module, "file_sha256", lambda path: "rotten")  # the stamps are the same
    rotten = Verified(shard.parent)
    assert rotten.holds(shard, record)
    assert not rotten.look_again(shard, record)
    rotten.save()
    assert not Verified(shard.parent).holds(shard, record)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.99, None])
def test_a_cut_or_absent_shard_is_refused(shard: Path, record: Record, share: float | None) -> None:
    if share is None:
        shard.unlink()
    else:
        data = shard.read_bytes()
        overwrite(shard, data[: int(np.ceil(share * len(data)))])
    known = Verified(shard.parent)
    assert not known.holds(shard, record)
    with pytest.raises(
        StoreCorruptError, match=r"shard-00000\.h5: absent, cut or changed .*pipeline\.extract"
    ):
        known.require(shard, record)


def test_a_cut_shard_is_not_even_read(shard: Path, record: Record, hashed: list[str]) -> None:
    overwrite(shard, shard.read_bytes()[:-1])
    assert not Verified(shard.parent).holds(shard, record)
    assert hashed == []


def test_no_flipped_byte_is_undetected(shard: Path, record: Record) -> None:
    data = shard.read_bytes()
    rng = np.random.default_rng(0)
    undetected = 0
    for at, bit in zip(rng.integers(len(data), size=200), rng.integers(8, size=200), strict=True):
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        overwrite(shard, bytes(changed))
        undetected += Verified(shard.parent).holds(shard, record)
    assert undetected == 0


def test_a_shard_of_failures_holds_if_it_is_not_said_to_hold_clips(shard: Path) -> None:
    record = put(shard, [], failures=[Failure("a", "", "E", "m")])
    known = Verified(shard.parent)
    assert known.holds(shard, record)
    known.require(shard, record)
    assert not known.holds(shard, Record(**{**record.__dict__, "ids": ["a"], "views": [""]}))


@pytest.mark.parametrize("text", ["", "[]", '{"shards": 3}', '{"shards": {"shard-00000.h5": 3}}'])
def test_a_damaged_cache_is_as_good_as_none(shard: Path, record: Record, text: str) -> None:
    (shard.parent / "verified.json").write_text(text)
    assert Verified(shard.parent).holds(shard, record)


def test_nothing_new_writes_nothing(shard: Path, record: Record) -> None:
    Verified(shard.parent).save()
    assert not (shard.parent / "verified.json").exists()
    known = Verified(shard.parent)
    known.forget(shard)
    known.save()
    assert not (shard.parent / "verified.json").exists()


def test_an_unreadable_shard_has_no_sha256(tmp_path: Path) -> None:
    assert not module._has_sha256(tmp_path / "absent", "")


def test_where_a_file_system_keeps_no_time_of_change_the_time_of_writing_tells(
    shard: Path, record: Record, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat

    def stat(path: Path, **options: bool) -> SimpleNamespace:
        found = real(path, **options)
        return SimpleNamespace(st_size=found.st_size, st_mtime_ns=found.st_mtime_ns, st_ctime_ns=0)

    monkeypatch.setattr(Path, "stat", stat)
    known = Verified(shard.parent)
    known.holds(shard, record)
    os.utime(shard, ns=(1, 1))
    known.holds(shard, record)
    assert len(hashed) == 2
