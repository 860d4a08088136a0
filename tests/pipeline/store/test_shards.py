import errno
import hashlib
import inspect
import os
import time
from pathlib import Path

import numpy as np
import pytest
from shelf import IDENTITY, clips, features, put

from extractors.audit import ClipAudit
from extractors.contract import BadFeaturesError
from pipeline import store
from pipeline.files import publish_json, read_json
from pipeline.store import (
    Failure,
    StoreVersionError,
    StoreWriteError,
    identity_sha256,
    read_record,
    record_path,
    shard_name,
)

FAILED = Failure("four", "", "DecodeError", "why")


def test_the_same_clips_give_the_same_bytes_and_the_record_knows_them(tmp_path: Path) -> None:
    first = put(tmp_path / "a.h5", failures=[FAILED], seen_subjects=["s2", "s1"])
    time.sleep(1.1)  # HDF5 would keep the second in which a dataset was made
    second = put(tmp_path / "b.h5", failures=[FAILED], seen_subjects=["s1", "s2"])
    for suffix in (".h5", ".json"):
        assert (tmp_path / "a").with_suffix(suffix).read_bytes() == (tmp_path / "b").with_suffix(
            suffix
        ).read_bytes()
    assert first == second == read_record(tmp_path / "a.h5")
    assert first.sha256 == hashlib.sha256((tmp_path / "a.h5").read_bytes()).hexdigest()
    assert first.bytes == (tmp_path / "a.h5").stat().st_size
    assert first.identity_sha256 == identity_sha256(IDENTITY)
    assert (first.rows, first.clips, first.failures) == (8, [key for key, _ in clips()], [FAILED])
    assert (first.seen_subjects, first.silent, first.planned_sha256) == (["s1", "s2"], [], "p")


def test_what_was_published_cannot_be_written_by_accident(tmp_path: Path) -> None:
    put(tmp_path / "s.h5")
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o444


def test_no_reader_has_a_mode_that_writes() -> None:
    for reader in (store.FeatureStore, store.decode, store.read_record):
        assert "mode" not in inspect.signature(reader).parameters
    for method in vars(store.FeatureStore):
        assert not method.startswith(("write", "append", "set", "__setitem__", "__delitem__"))


def test_the_record_is_published_after_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order, replace = [], os.replace

    def watch(source: Path, target: Path) -> None:
        order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    put(tmp_path / "s.h5")
    assert order == ["s.h5", "s.json"]


@pytest.mark.parametrize("failing", ["s.h5", "s.json"])
def test_a_failed_publication_leaves_no_temporary_and_no_finished_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreWriteError, match=r"cannot write .* bytes\): the disk is full"):
        put(tmp_path / "s.h5")
    assert {p.name for p in tmp_path.iterdir()} <= {"s.h5"}
    assert read_record(tmp_path / "s.h5") is None


def test_bad_features_are_not_stored_and_the_clip_is_named(tmp_path: Path) -> None:
    bad = features(2)
    bad.values[1, 2] = np.inf
    with pytest.raises(BadFeaturesError, match="row 1, column 2") as caught:
        put(tmp_path / "s.h5", [(("one", ""), bad)])
    assert caught.value.__notes__ == ["in clip one"]
    assert list(tmp_path.iterdir()) == []


def test_silent_clips_are_in_the_record(tmp_path: Path) -> None:
    record = put(tmp_path / "s.h5", [*clips(), (("quiet", ""), features(1, silent=True))])
    assert record.silent == ["quiet"]


def test_a_shard_of_failures_is_a_record_alone(tmp_path: Path) -> None:
    put(tmp_path / "s.h5")
    record = put(tmp_path / "s.h5", [], failures=[FAILED])
    assert [p.name for p in tmp_path.iterdir()] == ["s.json"]
    assert read_record(tmp_path / "s.h5") == record
    assert (record.sha256, record.bytes, record.rows, record.clips) == ("", 0, 0, [])


def test_a_shard_that_cannot_be_removed_is_a_readable_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreWriteError, match="Permission denied"):
        put(tmp_path / "s.h5", [], failures=[FAILED])


def test_the_record_says_what_decoding_found_and_the_shard_does_not_depend_on_it(tmp_path: Path) -> None:
    plain = put(tmp_path / "a.h5")
    audited = put(tmp_path / "b.h5", audits=[ClipAudit(repeated=2, variable_rate=False), None, ClipAudit()])
    assert plain.audit == {}
    assert audited.audit == {
        "repeated": [2, None, None],
        "variable_rate": [False, None, None],
        "partly": [False, None, False],
    }
    assert audited == read_record(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("text", ["", "{}", '{"ids": 3}', "[]", '{"encoding-version": 1}'])
def test_a_damaged_record_reads_as_absent(tmp_path: Path, text: str) -> None:
    record_path(tmp_path / "s.h5").write_text(text)
    assert read_record(tmp_path / "s.h5") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ids", [["one"]]),
        ("ids", ["one"]),
        ("views", ["", "", "", ""]),
        ("ids", ["one", "two", 3]),
        ("ids", "one"),
        ("views", ["", "left", None]),
        ("bytes", "many"),
        ("rows", None),
        ("sha256", 3),
        ("identity", []),
        ("failures", [{"clip_id": "one"}]),
        ("silent", [1]),
        ("unknown", 1),
        ("audit", 1),
        ("audit", {"repeated": 1}),
        ("audit", {"repeated": [1]}),
    ],
)
def test_a_record_of_another_form_reads_as_absent(tmp_path: Path, field: str, value: object) -> None:
    put(tmp_path / "s.h5")
    document = read_json(tmp_path / "s.json")
    assert document is not None
    publish_json(tmp_path / "s.json", document)
    assert read_record(tmp_path / "s.h5") is not None
    publish_json(tmp_path / "s.json", document | {field: value})
    assert read_record(tmp_path / "s.h5") is None


def test_a_record_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "s.h5")
    publish_json(tmp_path / "s.json", {"encoding-version": 2, "what": "ever"})
    with pytest.raises(StoreVersionError, match=r"s\.json: encoding-version is 2; this affectstack reads 1"):
        read_record(tmp_path / "s.h5")


def test_shards_are_named_by_their_number() -> None:
    assert shard_name(3) == "shard-00003.h5"
    assert record_path(Path("a/shard-00003.h5")) == Path("a/shard-00003.json")
