import errno
import os
from pathlib import Path
from threading import Event, Thread

import pytest

from pipeline.files import WriteError, alone, as_meant, as_text, publish, publish_json, read_json


def test_publish_replaces_and_leaves_no_temporary(tmp_path: Path) -> None:
    publish(tmp_path / "a", b"old")
    publish(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_read_only_files_can_still_be_replaced(tmp_path: Path) -> None:
    publish(tmp_path / "a", b"old", read_only=True)
    assert (tmp_path / "a").stat().st_mode & 0o222 == 0
    publish(tmp_path / "a", b"new", read_only=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_full_disk_is_one_readable_error_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "a", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"cannot write .*a \(3 bytes\): the disk is full"):
        publish(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_only_one_is_alone(tmp_path: Path) -> None:
    entered = Event()

    def other() -> None:
        with alone(tmp_path / "new" / "a"):
            entered.set()

    with alone(tmp_path / "new" / "a"):
        waiting = Thread(target=other)
        waiting.start()
        assert not entered.wait(0.2)
    waiting.join(10)
    assert entered.is_set()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"cannot write .*lock: "), alone(tmp_path / "file" / "a"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[1]", "\0"])
def test_damaged_json_reads_as_absent(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert read_json(tmp_path / "a.json") is None
    assert read_json(tmp_path / "absent.json") is None


def test_json_comes_back(tmp_path: Path) -> None:
    publish_json(tmp_path / "a.json", {"b": [1, "ü"]})
    assert read_json(tmp_path / "a.json") == {"b": [1, "ü"]}


@pytest.mark.parametrize(
    ("cell", "written"),
    [("=1", "'=1"), ("+1", "'+1"), ("-1", "'-1"), ("@a", "'@a"), ("\tx", "'\tx"), ("a=1", "a=1"), ("", ""),
     ("'=1", "''=1"), ("'tis", "'tis"), ("''", "''")],
)  # fmt: skip
def test_no_cell_is_a_formula_and_all_are_read_as_they_were(cell: str, written: str) -> None:
    assert as_text(cell) == written
    assert as_meant(written) == cell
