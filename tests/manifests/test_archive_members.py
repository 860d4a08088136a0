import gzip
import hashlib
import io
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from archive_makers import (
    SOUND,
    SUFFIXES,
    VOICE,
    flagged,
    listing,
    packed,
    refusal,
    rewritten,
    tar_entry,
    tarred,
    zip_entry,
    zipped,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectstack import AffectstackError
from manifests import archive as module
from manifests import archive_members
from manifests.archive import unpack
from manifests.archive_checks import Limits

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
    monkeypatch.setattr(archive_members._Stream, "seek", lambda self, position: far.append(position))
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
