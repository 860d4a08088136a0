"""Corpora as archives: checked as a whole before the first byte is written, then unpacked whole."""

import copy
import errno
import gzip
import hashlib
import json
import os
import shutil
import stat
import tarfile
import unicodedata
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from affectstack import AffectstackError
from affectstack.hashing import file_sha256
from manifests.paths import path_problem

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
RECORD = ".unpacked.json"
_CHUNK = 2**20
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # general purpose bits 0, 6 and 13: PKWARE APPNOTE 4.4.4
# What the readers raise on bytes that make no sense.
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, IndexError,
    RuntimeError,
)  # fmt: skip
_REMEDY = (
    "nothing was unpacked; get the archive from its publisher, or, where you trust it, unpack it by hand "
    "and give the folder"
)


class ArchiveError(AffectstackError):
    """An archive that cannot be unpacked safely; nothing of it is left on the disk."""


@dataclass(frozen=True)
class Limits:
    """What an archive may ask for.

    Attributes:
        total: Bytes that all members declare together; the free space of the disk counts as well.
        ratio: Bytes unpacked per byte packed, of the whole.
        member_ratio: The same of one member of a zip.
        trifle: Bytes below which no ratio is asked for: a second of silence packs as well as a bomb.
        members: Entries, folders included.
    """

    total: int = 200 * 10**9
    ratio: int = 200
    member_ratio: int = 1_000
    trifle: int = 2**20
    members: int = 100_000


@dataclass(frozen=True)
class Unpacked:
    """A corpus that came out of an archive.

    Attributes:
        folder: Where it lies.
        files: How many files it has.
        size: Their bytes.
        reused: Whether it lay there already.
    """

    folder: Path
    files: int
    size: int
    reused: bool = False


@dataclass(frozen=True)
class _Member:
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


DEFAULT_LIMITS = Limits()


def is_archive(path: Path) -> bool:
    """Say whether a file has a name that `unpack` knows."""
    return path.is_file() and _suffix(path) is not None


def folder_beside(archive: Path) -> Path:
    """Return the folder that belongs to an archive: beside it, named without the suffix."""
    return archive.with_name(archive.name[: -len(_suffix(archive) or "")])


def unpack(archive: Path, folder: Path, limits: Limits = DEFAULT_LIMITS) -> Unpacked:
    """Unpack an archive into a new folder, or find the one that it was unpacked into before.

    Every member is checked before the first byte is written. The folder appears under its name when
    it is complete; extras of macOS are left out.

    Args:
        archive: A zip or tar file.
        folder: The folder to make.
        limits: What the archive may ask for.

    Raises:
        ArchiveError: If a member is unsafe, the archive is damaged or too large, the disk cannot take
            it, or the folder holds something else.
    """
    try:
        if os.path.lexists(folder):
            return _reuse(archive, folder)
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            packed = os.fstat(file.fileno()).st_size
            members = _members(archive, file, max(limits.trifle, limits.ratio * packed))
            room = shutil.disk_usage(folder.parent).free
            return _publish(archive, folder, _checked(archive, members, packed, room, limits), digest)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or error
        raise ArchiveError(
            f"cannot unpack {archive} into {folder}: {reason}; "
            "make room, or move the archive to a disk that has it and that you may write to"
        ) from error


def size_text(size: int) -> str:
    """Return a number of bytes as a person says it: `25.6 GB`."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:,.1f} {unit}"
    return f"{size} bytes"


def _suffix(archive: Path) -> str | None:
    name = archive.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s) and name != s), None)


# Reading: nothing here trusts what the archive says of itself.


@contextmanager
def _damage_named(archive: Path, member: str | None = None) -> Iterator[None]:
    """Turn what the readers raise on broken bytes into an error that says what to do."""
    try:
        yield
    except _DAMAGE as error:
        where = "" if member is None else f"member {_shown(member)}: "
        raise ArchiveError(
            f"{archive}: {where}damaged, or no {_suffix(archive)} archive ({error}); nothing was unpacked; "
            "compare its checksum with the publisher's and get it again"
        ) from error


def _members(archive: Path, file: IO[bytes], longest: int) -> Iterator[_Member]:
    """List an archive, member by member, so that a check can stop before the next is looked for."""
    with _damage_named(archive):
        if _suffix(archive) == ".zip":
            yield from _zip_members(file)
        elif _suffix(archive) == ".tar":
            yield from _tar_members(_Stream(archive, file, longest))
        else:
            yield from _tar_members(_Stream(archive, cast(IO[bytes], gzip.GzipFile(fileobj=file)), longest))


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    opened = zipfile.ZipFile(file)
    for info in opened.infolist():
        # `filename` is what is left of the name after a NUL was cut off; the whole of it is judged.
        name = info.orig_filename
        endless = copy.copy(info)
        # zipfile would cut a member off at the size that its header declares, without a word.
        endless.file_size = 2**63 - 1
        yield _Member(
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


def _tar_members(stream: "_Stream") -> Iterator[_Member]:
    opened = tarfile.TarFile(fileobj=cast(IO[bytes], stream))
    for info in opened:
        content = cast(Callable[[], IO[bytes]], partial(opened.extractfile, info))  # None of a folder only
        yield _Member(info.name, info.size, None, info.isdir(), _tar_problem(info), content)
    # tarfile takes a broken header, and a file cut off between two members, for the end.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it breaks off after {len(opened.getmembers())} members")
    while stream.read(_CHUNK):  # the checksum of gzip stands at the very end
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
        if not 0 <= size <= _CHUNK:
            raise self._error(f"has a header of {size} bytes; allowed are {_CHUNK:,}")
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
        return ArchiveError(f"{self._archive}: {found}; {_REMEDY}")


# Checking


def _checked(
    archive: Path, members: Iterable[_Member], packed: int, room: int, limits: Limits
) -> list[tuple[_Member, PurePosixPath]]:
    """Look at every member; return the files to write, with where they go."""
    names, total, files = _Names(), 0, []
    for count, member in enumerate(members, start=1):
        total += member.size
        problem = (
            _name_problem(member)
            or member.problem
            or _member_problem(member, limits)
            or _total_problem(count, total, packed, room, limits)
        )
        path = PurePosixPath(member.name)
        if problem is None and not member.is_folder and not _is_extra(path):
            problem = names.problem(path)
            files.append((member, path))
        if problem:
            raise ArchiveError(f"{archive}: member {_shown(member.name)} {problem}; {_REMEDY}")
    if not files:
        raise ArchiveError(f"{archive}: holds no files; expected a corpus; {_REMEDY}")
    return files


def _name_problem(member: _Member) -> str | None:
    if problem := path_problem(member.name):
        return f"has a path that {problem}"
    parts = PurePosixPath(member.name).parts
    if not parts and not member.is_folder:
        return "has no name"
    if len(member.name.encode()) > 1024 or any(len(p.encode()) > 255 for p in parts):
        return "has a name longer than file systems take; allowed are 255 bytes, 1,024 with its folders"
    return None


def _member_problem(member: _Member, limits: Limits) -> str | None:
    if member.packed is None or member.size <= limits.trifle:
        return None
    ratio = member.size / max(1, member.packed)
    if ratio <= limits.member_ratio:
        return None
    return (
        f"unpacks from {size_text(member.packed)} to {size_text(member.size)}, {ratio:,.0f}:1; allowed is "
        f"{limits.member_ratio:,}:1, as media hardly compress"
    )


def _total_problem(count: int, total: int, packed: int, room: int, limits: Limits) -> str | None:
    """Judge the sum so far: of what is declared, against the file's real size, which cannot be."""
    if count > limits.members:
        return f"is one more than the {limits.members:,} members allowed"
    if total > limits.total:
        return f"brings the whole to {size_text(total)}; allowed are {size_text(limits.total)}"
    if total > room:
        return f"brings the whole to {size_text(total)}; the disk has {size_text(room)} left"
    if total > max(limits.trifle, limits.ratio * packed):
        return (
            f"brings the whole to {size_text(total)} out of {size_text(packed)}, {total / packed:,.0f}:1; "
            f"allowed is {limits.ratio:,}:1, as media hardly compress"
        )
    return None


class _Names:
    """The names taken so far, as seen by file systems that tell neither case nor Unicode forms apart."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def problem(self, path: PurePosixPath) -> str | None:
        """Enter a file's path; say which earlier one it would overwrite, or None."""
        key, *folders = (unicodedata.normalize("NFC", str(p)).casefold() for p in (path, *path.parents))
        above = (self._files[f] for f in folders if f in self._files)
        other = self._files.get(key) or self._folders.get(key) or next(above, None)
        self._files[key] = str(path)
        self._folders.update(dict.fromkeys(folders, str(path)))
        if other is None:
            return None
        return f"takes the place of {_shown(other)}; allowed are names that differ, case and accents aside"


def _is_extra(path: PurePosixPath) -> bool:
    """Say whether a file is what macOS adds, or the record of an earlier unpacking."""
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name in (".DS_Store", RECORD)


def _shown(name: str) -> str:
    shown = repr(name)
    return shown if len(shown) <= 120 else shown[:117] + "..."


# Writing


def _publish(
    archive: Path, folder: Path, files: list[tuple[_Member, PurePosixPath]], digest: str
) -> Unpacked:
    """Write the files beside the folder, and give them its name when they are complete."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex}.tmp")
    done = Unpacked(folder, len(files), sum(member.size for member, _ in files))
    record = {"archive": archive.name, "sha256": digest, "files": done.files, "size": done.size}
    try:
        temporary.mkdir()
        for member, path in files:
            _write(archive, member, temporary / path)
        (temporary / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return done


def _write(archive: Path, member: _Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with _damage_named(archive, member.name), member.open() as source, target.open("xb") as file:
        written = _copy(source, file, member.size)
    if written != member.size:
        found = (
            f"more than the {member.size:,}"
            if written > member.size
            else f"{written:,} of the {member.size:,}"
        )
        raise ArchiveError(
            f"{archive}: member {_shown(member.name)} holds {found} bytes that its header declares; {_REMEDY}"
        )


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> int:
    """Copy until the end or until more than `size` bytes have come; return how many came."""
    count = 0
    while count <= size and (chunk := source.read(_CHUNK)):
        count += len(chunk)
        if count <= size:
            target.write(chunk)
    return count


# Finding again


def _reuse(archive: Path, folder: Path) -> Unpacked:
    record = _read_record(folder)
    if record is None:
        raise ArchiveError(
            f"{folder} exists, and not by unpacking {archive}; if it is the corpus, give it in place of the "
            "archive, else move it away"
        )
    digest = file_sha256(archive)
    if record["sha256"] != digest:
        raise ArchiveError(
            f"{folder} was unpacked from another archive: {record['archive']} of sha256 "
            f"{record['sha256'][:12]}…, not {digest[:12]}…; move it away, or rename {archive.name}"
        )
    found = sum(len(names) for _, _, names in os.walk(folder)) - 1  # the record
    if found < record["files"]:
        raise ArchiveError(
            f"{folder} holds {found} of the {record['files']} files that were unpacked into it; move it "
            f"away to unpack {archive.name} again, or give the folder in its place"
        )
    return Unpacked(folder, record["files"], record["size"], reused=True)


def _read_record(folder: Path) -> dict[str, Any] | None:
    """Return what `_publish` recorded, or None if the folder is not its work."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kinds = {"archive": str, "sha256": str, "files": int, "size": int}
    if not isinstance(record, dict) or not all(isinstance(record.get(k), t) for k, t in kinds.items()):
        return None
    return record
