import hashlib
import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from archive_makers import (
    FILES,
    SOUND,
    SUFFIXES,
    VOICE,
    listing,
    packed,
    refusal,
    tar_entry,
    tarred,
    zip_entry,
    zipped,
)

from manifests import archive as module
from manifests.archive import folder_beside, is_archive, unpack
from manifests.archive_members import ArchiveError

# What works


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_come_out_as_they_went_in(home: Path, suffix: str) -> None:
    archive = packed(home / f"corpus{suffix}", *FILES.items())
    done = unpack(archive, folder_beside(archive))
    assert (done.folder, done.files, done.reused) == (home / "corpus", 3, False)
    assert done.size == sum(map(len, FILES.values()))
    assert {name: (home / "corpus" / name).read_bytes() for name in FILES} == FILES
    assert sorted(p.name for p in home.iterdir()) == ["corpus", f"corpus{suffix}"]
    record = json.loads((home / "corpus" / ".unpacked.json").read_text())
    assert record["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_extras_of_macos_and_an_older_record_are_left_out(home: Path, suffix: str) -> None:
    extras = ["__MACOSX/Actor_16/x.wav", "Actor_16/._x.wav", ".DS_Store", "Actor_16/.DS_Store"]
    names = [VOICE, *extras, ".unpacked.json"]
    archive = packed(home / f"c{suffix}", *((n, b"12345") for n in names))
    assert unpack(archive, home / "c").files == 1
    assert listing(home / "c") == [".unpacked.json", "Actor_16", VOICE]
    assert json.loads((home / "c/.unpacked.json").read_text())["files"] == 1


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_folders_may_be_listed_and_an_archive_within_is_a_file(home: Path) -> None:
    inner = packed(home / "inner.zip", ("../x", b"1")).read_bytes()
    archive = tarred(
        home / "c.tar",
        (tar_entry("./", tarfile.DIRTYPE), b""),
        (tar_entry("./a", tarfile.DIRTYPE), b""),
        ("./a/inner.zip", inner),
    )
    assert unpack(archive, home / "c").files == 1
    assert (home / "c/a/inner.zip").read_bytes() == inner
    folders = zipped(home / "d.zip", ("a/", b""), ("a/", b""), ("a/x", b"1"))
    assert unpack(folders, home / "d").files == 1


def test_names_of_any_script_and_no_mode_of_the_archive(home: Path) -> None:
    archive = zipped(home / "c.zip", (zip_entry("é/ß ü.wav", stat.S_IFREG | 0o4777), b"1"))
    assert unpack(archive, home / "c").files == 1
    assert not (home / "c/é/ß ü.wav").stat().st_mode & 0o4111


def test_empty_files_and_short_silence_are_no_bomb(home: Path) -> None:
    archive = zipped(home / "c.zip", ("a.txt", b""), ("b.wav", bytes(2**20 - 1)))
    assert unpack(archive, home / "c").files == 2


@pytest.mark.parametrize(
    ("name", "folder"),
    [("a.zip", "a"), ("A.ZIP", "A"), ("a.b.tar.gz", "a.b"), ("a.tgz", "a"), ("a.tar", "a")],
)
def test_archives_are_known_by_their_suffix(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / name).touch()
    assert is_archive(tmp_path / name)
    assert folder_beside(tmp_path / name) == tmp_path / folder


@pytest.mark.parametrize("name", ["a.csv", "a.rar", "a.gz", ".zip", "zip", "a.zip.part"])
def test_other_files_and_folders_are_no_archives(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "folder.zip").mkdir()
    assert not is_archive(tmp_path / name)
    assert not is_archive(tmp_path / "folder.zip")
    assert not is_archive(tmp_path / "absent.zip")


# Whole or not at all


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError(28, "No space left"), MemoryError])
def test_what_stops_in_the_middle_leaves_nothing(
    home: Path, stop: BaseException | type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(home / "c.zip", *FILES.items())
    copy, copied = module._copy, 0

    def second_fails(source: IO[bytes], target: IO[bytes], size: int) -> int:
        nonlocal copied
        assert not (home / "c").exists()
        copied += 1
        if copied == 2:
            raise stop
        return copy(source, target, size)

    monkeypatch.setattr(module, "_copy", second_fails)
    expected = ArchiveError if isinstance(stop, OSError) else stop
    with pytest.raises(expected) as caught:  # type: ignore[call-overload]
        unpack(archive, home / "c")
    assert "the disk is full" in str(caught.value) or expected is stop
    assert listing(home) == ["c.zip"]
    monkeypatch.undo()
    assert unpack(archive, home / "c").files == 3


def test_a_folder_that_may_not_be_written_is_an_error_with_the_remedy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    archive = packed(home / "c.zip", *FILES.items())
    monkeypatch.setattr(Path, "mkdir", forbidden)
    message = refusal(archive)
    assert "Permission denied; make room, or move the archive to a disk" in message


# Finding again


def touched(folder: Path) -> dict[str, float]:
    return {name: (folder / name).stat().st_mtime_ns for name in listing(folder)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_of_the_same_archive_is_used_again(home: Path, suffix: str) -> None:
    archive = packed(home / f"c{suffix}", *FILES.items())
    first = unpack(archive, home / "c")
    before = touched(home)
    (home / "c/note.txt").touch()  # what a person adds is no harm
    again = unpack(archive, home / "c")
    assert (again.folder, again.files, again.size, again.reused) == (home / "c", 3, first.size, True)
    assert {k: v for k, v in touched(home).items() if k in before and k != "c"} == {
        k: v for k, v in before.items() if k != "c"
    }


def test_a_folder_of_another_archive_is_not_used(home: Path) -> None:
    unpack(packed(home / "c.zip", *FILES.items()), home / "c")
    message = refusal(packed(home / "c.zip", (VOICE, SOUND)))
    assert "was unpacked from another archive: c.zip of sha256" in message
    assert "move it away, or rename c.zip" in message


@pytest.mark.parametrize(
    "record",
    [None, "", "[]", "{}", '{"sha256": 1, "archive": "c.zip", "files": 1, "size": 1}'],
)
def test_a_folder_of_ones_own_is_neither_used_nor_changed(home: Path, record: str | None) -> None:
    (home / "c").mkdir()
    if record is not None:
        (home / "c/.unpacked.json").write_text(record)
    message = refusal(packed(home / "c.zip", *FILES.items()))
    assert "exists, and not by unpacking" in message
    assert "give it in place of the archive, else move it away" in message


def test_a_folder_that_lost_files_is_not_used(home: Path) -> None:
    archive = packed(home / "c.zip", *FILES.items())
    unpack(archive, home / "c")
    (home / "c" / VOICE).unlink()
    assert "holds 2 of the 3 files that were unpacked into it; move it away" in refusal(archive)


@pytest.mark.parametrize("make", [Path.touch, lambda p: p.symlink_to("nowhere")], ids=["file", "link"])
def test_a_file_in_the_place_of_the_folder_is_kept(home: Path, make: Callable[[Path], None]) -> None:
    make(home / "c")
    assert "exists, and not by unpacking" in refusal(packed(home / "c.zip", *FILES.items()))


def test_an_archive_of_nothing_is_refused(home: Path) -> None:
    assert "holds no files; expected a corpus" in refusal(packed(home / "c.zip", (".DS_Store", b"1")))
