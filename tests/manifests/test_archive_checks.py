import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from archive_makers import SOUND, SUFFIXES, VOICE, packed, refusal, rewritten, zipped

from manifests.archive import unpack
from manifests.archive_checks import Limits

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
