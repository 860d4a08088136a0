"""Archives as their readers see them: members, of which nothing is believed."""

import copy
import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from affectstack import AffectstackError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
CHUNK = 2**20
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # general purpose bits 0, 6 and 13: PKWARE APPNOTE 4.4.4
# What the readers raise on bytes that make no sense.
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, IndexError,
    RuntimeError,
)  # fmt: skip
REMEDY = (
    "nothing was unpacked; get the archive from its publisher, or, where you trust it, unpack it by hand "
    "and give the folder"
)


class ArchiveError(AffectstackError):
    """An archive that cannot be unpacked safely; nothing of it is left on the disk."""


@dataclass(frozen=True)
class Member:
    """An entry as its archive describes it, which need not be true.

    Attributes:
        name: As the archive spells it.
        size: Bytes when unpacked.
        packed: Bytes in the archive, where the format says so.
        is_folder: Whether it is a folder.
        problem: Why it is nothing that may be unpacked, or None.
        open: Opens its content.
    """

    name: str
    size: int
    packed: int | None
    is_folder: bool
    problem: str | None
    open: Callable[[], IO[bytes]]


def suffix(archive: Path) -> str | None:
    """Return the suffix that says what kind of archive a file is, or None."""
    name = archive.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s) and name != s), None)


def size_text(size: int) -> str:
    """Return a number of bytes as a person says it: `25.6 GB`."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:,.1f} {unit}"
    return f"{size} bytes"


def shown(name: str) -> str:
    """Return a member's name as an error message quotes it."""
    quoted = repr(name)
    return quoted if len(quoted) <= 120 else quoted[:117] + "..."


@contextmanager
def damage_named(archive: Path, member: str | None = None) -> Iterator[None]:
    """Turn what the readers raise on broken bytes into an error that says what to do."""
    try:
        yield
    except _DAMAGE as error:
        where = "" if member is None else f"member {shown(member)}: "
        raise ArchiveError(
            f"{archive}: {where}damaged, or no {suffix(archive)} archive ({error}); nothing was unpacked; "
            "compare its checksum with the publisher's and get it again"
        ) from error


def members(archive: Path, file: IO[bytes], longest: int) -> Iterator[Member]:
    """List an archive, member by member, so that a check can stop before the next is looked for."""
    with damage_named(archive):
        if suffix(archive) == ".zip":
            yield from _zip_members(file)
        elif suffix(archive) == ".tar":
            yield from _tar_members(_Stream(archive, file, longest))
        else:
            yield from _tar_members(_Stream(archive, cast(IO[bytes], gzip.GzipFile(fileobj=file)), longest))


def _zip_members(file: IO[bytes]) -> Iterator[Member]:
    opened = zipfile.ZipFile(file)
    for info in opened.infolist():
        # `filename` is what is left of the name after a NUL was cut off; the whole of it is judged.
        name = info.orig_filename
        endless = copy.copy(info)
        # zipfile would cut a member off at the size that its header declares, without a word.
        endless.file_size = 2**63 - 1
        yield Member(
            name, info.file_size, info.compress_size, name.endswith("/"), _zip_problem(info),
            partial(opened.open, endless),
        )  # fmt: skip


def _zip_problem(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link; allowed are files and folders"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device, pipe or socket; allowed are files and folders"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted; allowed are members without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile takes in what a block of bzip2 or LZMA holds at once, gigabytes if it likes.
        return f"is packed by method {info.compress_type}; allowed are 0 (stored) and 8 (deflated)"
    return None


def _tar_members(stream: "_Stream") -> Iterator[Member]:
    opened = tarfile.TarFile(fileobj=cast(IO[bytes], stream))
    for info in opened:
        content = cast(Callable[[], IO[bytes]], partial(opened.extractfile, info))  # None of a folder only
        yield Member(info.name, info.size, None, info.isdir(), _tar_problem(info), content)
    # tarfile takes a broken header, and a file cut off between two members, for the end.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it breaks off after {len(opened.getmembers())} members")
    while stream.read(CHUNK):  # the checksum of gzip stands at the very end
        pass


def _tar_problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return f"is a {'symbolic' if info.issym() else 'hard'} link; allowed are files and folders"
    if info.size < 0:  # tarfile would walk backwards, for ever
        return f"declares {info.size} bytes; allowed are 0 or more"
    if info.issparse():
        return "is a sparse file, whose size costs nothing; allowed are plain files and folders"
    if not info.isfile() and not info.isdir():
        return "is a device, pipe or socket; allowed are files and folders"
    return None


class _Stream:
    """What a tar file is read through: bounded in every read, and in all.

    tarfile takes in a long name or a pax header whole, however long its header says it is, and looks
    for the next member by unpacking all that lies before it.

    Args:
        archive: What errors are about.
        file: The unpacked bytes.
        longest: How many of them there may be.
    """

    def __init__(self, archive: Path, file: IO[bytes], longest: int) -> None:
        self._archive = archive
        self._file = file
        self._longest = longest
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise self._error(f"has a header of {size} bytes; allowed are {CHUNK:,}")
        self.last = self._file.read(size)
        self._check(self._file.tell())
        return self.last

    def seek(self, position: int) -> int:
        self._check(position)
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int) -> None:
        if position > self._longest:
            raise self._error(f"unpacks to more than the {size_text(self._longest)} allowed for its size")

    def _error(self, found: str) -> ArchiveError:
        return ArchiveError(f"{self._archive}: {found}; {REMEDY}")
