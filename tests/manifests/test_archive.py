import gzip
import hashlib
import io
import json
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectstack import AffectstackError
from manifests import archive as module
from manifests.archive import ArchiveError, Limits, folder_beside, is_archive, unpack

VOICE = "Actor_16/03-01-05-01-01-01-16.wav"
SOUND = bytes(range(256)) * 40
FILES = {VOICE: SOUND, "Actor_01/03-01-01-01-01-01-01.wav": SOUND[::-1], "README.txt": b"hello"}
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = 8) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data, None if isinstance(name, str) else name.compress_type)
    return path


def tarred(path: Path, *members: tuple[str | tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if not isinstance(name, tarfile.TarInfo):
                info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def packed(path: Path, *members: tuple[str, bytes]) -> Path:
    return zipped(path, *members) if path.suffix == ".zip" else tarred(path, *members)


def zip_entry(name: str, mode: int = 0, **attributes: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def tar_entry(name: str, kind: bytes, **attributes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def rewritten(path: Path, old: bytes, new: bytes) -> Path:
    """Change bytes of a file that stand in it, keeping its length."""
    data = path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def flagged(path: Path, flags: int) -> Path:
    """Set general purpose flags in every entry of a zip's directory."""
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\1\2")
    while at >= 0:
        data[at + 8 : at + 10] = struct.pack("<H", flags)
        at = data.find(b"PK\1\2", at + 4)
    path.write_bytes(data)
    return path


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def refusal(archive: Path, limits: Limits = module.DEFAULT_LIMITS) -> str:
    """Return the message of a refusal that left the disk as it was."""
    before = listing(archive.parent.parent)
    with pytest.raises(ArchiveError) as caught:
        unpack(archive, folder_beside(archive), limits)
    assert listing(archive.parent.parent) == before
    message = str(caught.value)
    assert archive.name in message
    assert len(message) < 800
    return message


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for archives, with a neighbour that members may try to reach."""
    (tmp_path / "corpus_evil").mkdir()
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


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


# Names


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../x", "leaves the corpus root"),
        ("a/../../x", "leaves the corpus root"),
        ("../corpus_evil/x", "leaves the corpus root"),
        ("/etc/x", "is absolute"),
        ("C:\\x", "is a URL or a drive"),
        ("C:/x", "is a URL or a drive"),
        ("\\\\host\\x", "is absolute"),
        ("a\\..\\x", "holds a backslash"),
        ("a\nb", "control character"),
        ("x" * 256, "longer than file systems take"),
        ("x/" * 512 + "y", "longer than file systems take"),
        ("é" * 128, "longer than file systems take"),
        (".", "has no name"),
    ],
)
def test_a_path_that_means_something_else_is_refused(home: Path, suffix: str, name: str, words: str) -> None:
    message = refusal(packed(home / f"corpus{suffix}", (VOICE, SOUND), (name, b"1")))
    assert words in message
    assert f"member {name!r}"[:60] in message
    assert "nothing was unpacked; get the archive from its publisher" in message


def test_a_name_with_a_nul_is_judged_with_what_stands_behind_it(home: Path) -> None:
    archive = rewritten(zipped(home / "c.zip", ("a.wav#evil", b"1")), b"a.wav#evil", b"a.wav\0evil")
    assert "member 'a.wav\\x00evil' has a path that holds a control character" in refusal(archive)


def test_a_folder_entry_is_judged_like_a_file(home: Path) -> None:
    assert "leaves the corpus root" in refusal(zipped(home / "c.zip", ("../x/", b""), ("a", b"1")))


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a/x.wav", "a/x.wav"),
        ("a/x.wav", "./a//x.wav"),
        ("a/x.wav", "A/X.WAV"),
        ("a/\u00e9.wav", "a/e\u0301.wav"),
        ("a", "a/x.wav"),
        ("a/x.wav", "A"),
        ("a/b/x.wav", "a"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_place_are_refused(home: Path, suffix: str, first: str, second: str) -> None:
    message = refusal(packed(home / f"c{suffix}", (first, b"1"), (second, b"2")))
    assert "takes the place of" in message


# Kinds


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (stat.S_IFLNK, "is a symbolic link"),
        (stat.S_IFCHR, "is a device, pipe or socket"),
        (stat.S_IFBLK, "is a device, pipe or socket"),
        (stat.S_IFIFO, "is a device, pipe or socket"),
        (stat.S_IFSOCK, "is a device, pipe or socket"),
    ],
)
def test_links_and_devices_in_a_zip_are_refused(home: Path, mode: int, words: str) -> None:
    archive = zipped(home / "c.zip", (VOICE, SOUND), (zip_entry("x.wav", mode | 0o644), b"/etc/passwd"))
    assert f"member 'x.wav' {words}; allowed are files and folders" in refusal(archive)


@pytest.mark.parametrize("suffix", [".tar", ".tgz"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.CHRTYPE, "is a device, pipe or socket"),
        (tarfile.BLKTYPE, "is a device, pipe or socket"),
        (tarfile.FIFOTYPE, "is a device, pipe or socket"),
        (b"Z", "is a device, pipe or socket"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(home: Path, suffix: str, kind: bytes, words: str) -> None:
    entry = tar_entry("x.wav", kind, linkname=VOICE)
    message = refusal(tarred(home / f"c{suffix}", (VOICE, SOUND), (entry, b"")))
    assert f"member 'x.wav' {words}" in message


def test_a_sparse_file_is_refused(home: Path) -> None:
    entry = tar_entry("x.wav", tarfile.GNUTYPE_SPARSE)
    assert "is a sparse file" in refusal(tarred(home / "c.tar", (entry, b"")))


def test_a_size_below_nothing_is_refused(home: Path) -> None:
    archive = tarred(home / "c.tar", ("x.wav", b""))
    data = bytearray(archive.read_bytes())
    data[124:136] = b"\xff" * 11 + b"\0"  # base 256, negative: -256
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    archive.write_bytes(data)
    assert "member 'x.wav' declares -256 bytes" in refusal(archive)


@pytest.mark.parametrize("flags", [0x1, 0x40, 0x2000])
def test_an_encrypted_member_is_refused(home: Path, flags: int) -> None:
    archive = flagged(zipped(home / "c.zip", (VOICE, SOUND)), flags)
    assert f"member {VOICE!r} is encrypted; allowed are members without a password" in refusal(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bounds_are_refused(home: Path, method: int) -> None:
    archive = zipped(home / "c.zip", (VOICE, SOUND), method=method)
    assert f"is packed by method {method}; allowed are 0" in refusal(archive)


# Sizes


def test_a_member_of_more_than_1000_to_1_is_refused(home: Path) -> None:
    filler = hashlib.shake_128(b"").digest(2**20)  # keeps the ratio of the whole low
    archive = zipped(home / "c.zip", ("filler", filler), ("x.wav", bytes(30 * 10**6)))
    message = refusal(archive)
    assert "member 'x.wav' unpacks from 29" in message
    assert " kB to 30.0 MB, 1,0" in message
    assert "allowed is 1,000:1, as media hardly compress" in message


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_a_whole_of_more_than_200_to_1_is_refused(home: Path, suffix: str) -> None:
    members = ((f"{i}.wav", bytes(2**20)) for i in range(5))
    message = refusal(packed(home / f"c{suffix}", *members))
    assert "brings the whole to" in message
    assert "allowed is 200:1, as media hardly compress" in message


def test_members_that_share_their_bytes_are_counted_against_the_file(home: Path) -> None:
    archive = zipped(home / "c.zip", *((f"{i}.wav", bytes(300_000)) for i in range(20)))
    first = zipfile.ZipFile(archive).infolist()[0]
    with zipfile.ZipFile(archive, "a") as file:
        for info in file.infolist():
            info.header_offset = first.header_offset
            info.compress_size = 10**9  # a lie that would make every ratio small
        file._didModify = True  # type: ignore[attr-defined]
    assert "allowed is 200:1" in refusal(archive)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_bytes_than_allowed_are_refused(home: Path, suffix: str) -> None:
    archive = packed(home / f"c{suffix}", (VOICE, SOUND), ("x.wav", b"1"))
    message = refusal(archive, Limits(total=len(SOUND)))
    assert "member 'x.wav' brings the whole to 10.2 kB; allowed are 10.2 kB" in message
    assert unpack(archive, home / "c", Limits(total=len(SOUND) + 1)).files == 2


def test_limits_are_wide_enough_for_a_corpus_and_no_wider() -> None:
    assert Limits() == Limits(total=200 * 10**9, ratio=200, member_ratio=1_000, members=100_000)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_bytes_than_the_disk_has_are_refused(
    home: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(home / f"c{suffix}", (VOICE, SOUND))
    usage = shutil.disk_usage(home)._replace(free=4_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert "brings the whole to 10.2 kB; the disk has 4.0 kB left" in refusal(archive)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_members_than_allowed_are_refused(home: Path, suffix: str) -> None:
    archive = packed(home / f"c{suffix}", *((f"{i}.txt", b"") for i in range(4)))
    message = refusal(archive, Limits(members=3))
    assert "member '3.txt' is one more than the 3 members allowed" in message
    assert unpack(archive, home / "c", Limits(members=4)).files == 4


# Headers that lie


def sized(archive: Path, size: int, false: int) -> Path:
    """Let a zip's headers declare another size than the member has."""
    return rewritten(archive, struct.pack("<I", size), struct.pack("<I", false))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [5_000, 3 * 2**20 + 7])
def test_a_member_that_holds_more_than_it_declares_is_stopped(home: Path, method: int, size: int) -> None:
    data = hashlib.shake_128(b"").digest(size)
    archive = zipped(home / "c.zip", (VOICE, SOUND), ("x.wav", data), method=method)
    # In the directory alone: the packed size of a stored member is the same number, and must stay.
    at = archive.read_bytes().rfind(b"PK\1\2") + 24
    changed = bytearray(archive.read_bytes())
    changed[at : at + 4] = struct.pack("<I", 10)
    archive.write_bytes(changed)
    assert "member 'x.wav' holds more than the 10 bytes that its header declares" in refusal(archive)


def test_a_member_that_holds_less_than_it_declares_is_refused(home: Path) -> None:
    archive = sized(zipped(home / "c.zip", (VOICE, SOUND), ("x.wav", bytes(4321))), 4321, 54321)
    assert "member 'x.wav' holds 4,321 of the 54,321 bytes" in refusal(archive)


def test_no_more_than_declared_is_ever_written() -> None:
    target = io.BytesIO()
    assert module._copy(io.BytesIO(bytes(5 * 2**20)), target, 10) > 10
    assert len(target.getvalue()) <= 10


@pytest.mark.parametrize("size", [2 * 10**6, -512])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_would_fill_the_memory_is_refused(home: Path, kind: bytes, size: int) -> None:
    entry = tar_entry("x", kind, size=0)
    archive = tarred(home / "c.tgz", (entry, b""))
    data = bytearray(gzip.decompress(archive.read_bytes()))
    data[124:136] = (size % 256**12).to_bytes(12, "big") if size < 0 else b"%011o\0" % size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    archive.write_bytes(gzip.compress(bytes(data) + bytes(10**6)))
    assert "has a header of" in refusal(archive, Limits(trifle=10**9))


def test_bytes_behind_the_end_of_a_tar_are_counted(home: Path) -> None:
    archive = tarred(home / "c.tgz", (VOICE, b"1"))
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()) + bytes(20 * 10**6)))
    assert "unpacks to more than the" in refusal(archive)


def test_a_tar_is_not_unpacked_to_the_end_of_a_member_that_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far: list[int] = []
    monkeypatch.setattr(module._Stream, "seek", lambda self, position: far.append(position))
    refusal(tarred(home / "c.tgz", ("x.wav", bytes(10**7))))
    assert not far


# Damage


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("data", [b"", b"no archive at all" * 100], ids=["empty", "text"])
def test_what_is_no_archive_is_refused(home: Path, suffix: str, data: bytes) -> None:
    (home / f"c{suffix}").write_bytes(data)
    message = refusal(home / f"c{suffix}")
    assert f"damaged, or no {suffix} archive" in message
    assert "compare its checksum with the publisher's and get it again" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.6, 0.8])
def test_an_archive_that_breaks_off_is_refused(home: Path, suffix: str, share: float) -> None:
    noise = ((f"{i}.wav", hashlib.shake_128(b"%d" % i).digest(9_000)) for i in range(9))
    archive = packed(home / f"c{suffix}", *noise)
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    assert "damaged" in refusal(archive)


def test_a_tar_cut_off_between_two_members_is_not_taken_for_the_whole(home: Path) -> None:
    archive = tarred(home / "c.tar", ("a", b"1"), ("b", b"2"))
    archive.write_bytes(archive.read_bytes()[: 2 * 512])
    assert "breaks off after 1 members" in refusal(archive)


def test_a_tar_with_a_broken_header_is_not_taken_for_the_whole(home: Path) -> None:
    archive = tarred(home / "c.tar", ("a", b"1"), ("b", b"2"))
    data = bytearray(archive.read_bytes())
    data[2 * 512 + 150] ^= 1  # the checksum of the second header
    archive.write_bytes(data)
    assert "breaks off after 1 members" in refusal(archive)


def test_a_changed_byte_in_a_zip_is_found(home: Path) -> None:
    archive = rewritten(
        zipped(home / "c.zip", ("a", b"1"), (VOICE, SOUND), method=0), SOUND, b"\1" + SOUND[1:]
    )
    assert f"member {VOICE!r}: damaged" in refusal(archive)


def test_a_changed_byte_in_a_tar_gz_is_found_before_the_first_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tarred(home / "c.tgz", (VOICE, SOUND))
    plain = gzip.decompress(archive.read_bytes())
    false = bytearray(gzip.compress(plain))
    false[-5] ^= 1  # size; -8 to -5 is the checksum
    archive.write_bytes(false)
    monkeypatch.setattr(module, "_publish", pytest.fail)
    assert "CRC check failed" in refusal(archive)


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_packed_bytes_that_make_no_sense_are_refused(home: Path, suffix: str) -> None:
    archive = packed(home / f"c{suffix}", (VOICE, b"".join(b"%d" % i for i in range(9_000))))
    data = bytearray(archive.read_bytes())
    data[1_000:1_200] = b"\xff" * 200
    archive.write_bytes(data)
    assert "damaged" in refusal(archive)


def test_a_zip_name_that_is_no_text_is_refused(home: Path) -> None:
    archive = rewritten(zipped(home / "c.zip", ("a#b.wav", b"1")), b"a#b.wav", b"a\xffb.wav")
    assert "damaged" in refusal(flagged(archive, 0x800))


def test_a_zip_with_patched_data_is_refused(home: Path) -> None:
    assert "damaged" in refusal(flagged(zipped(home / "c.zip", (VOICE, SOUND)), 0x20))


def test_a_zip_member_that_lies_beyond_any_file_is_refused(home: Path) -> None:
    with zipfile.ZipFile(home / "c.zip", "w") as file:
        file.writestr("x.wav", SOUND)
        file.infolist()[0].header_offset = 2**63 + 5
    assert "damaged" in refusal(home / "c.zip")


def test_a_tar_of_long_names_of_long_names_is_refused(home: Path) -> None:
    archive = tarred(home / "c.tar", *((tar_entry("x", tarfile.GNUTYPE_LONGNAME), b"") for _ in range(2_000)))
    assert "damaged" in refusal(archive)


def test_a_sparse_header_that_breaks_off_is_refused(home: Path) -> None:
    archive = tarred(home / "c.tar", (tar_entry("x", tarfile.GNUTYPE_SPARSE), b""))
    data = bytearray(archive.read_bytes()[:512])
    data[482] = 1  # more of the header follows
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    archive.write_bytes(data)
    assert "damaged" in refusal(archive)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_any_changed_bytes_are_an_archive_or_an_error_that_can_be_read(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    archive = packed(tmp_path / f"c{suffix}", ("a/x.wav", b"12345"), ("y", b""))
    broken = bytearray(archive.read_bytes())
    for at in data.draw(st.lists(st.integers(0, min(2_000, len(broken) - 1)), min_size=1, max_size=4)):
        broken[at] = data.draw(st.integers(0, 255))
    archive.write_bytes(broken)
    try:
        unpack(archive, tmp_path / "c")
    except AffectstackError:
        assert listing(tmp_path) == [archive.name]
    shutil.rmtree(tmp_path / "c", ignore_errors=True)


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
