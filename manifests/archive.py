"""Corpora as archives: checked as a whole before the first byte is written, then unpacked whole."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from affectstack.hashing import file_sha256
from manifests.archive_checks import DEFAULT_LIMITS, RECORD, Limits, checked
from manifests.archive_members import (
    CHUNK,
    REMEDY,
    ArchiveError,
    Member,
    damage_named,
    members,
    shown,
    suffix,
)


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


def is_archive(path: Path) -> bool:
    """Say whether a file has a name that `unpack` knows."""
    return path.is_file() and suffix(path) is not None


def folder_beside(archive: Path) -> Path:
    """Return the folder that belongs to an archive: beside it, named without the suffix."""
    return archive.with_name(archive.name[: -len(suffix(archive) or "")])


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
            listed = members(archive, file, max(limits.trifle, limits.ratio * packed))
            room = shutil.disk_usage(folder.parent).free
            return _publish(archive, folder, checked(archive, listed, packed, room, limits), digest)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or error
        raise ArchiveError(
            f"cannot unpack {archive} into {folder}: {reason}; "
            "make room, or move the archive to a disk that has it and that you may write to"
        ) from error


def _publish(archive: Path, folder: Path, files: list[tuple[Member, PurePosixPath]], digest: str) -> Unpacked:
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


def _write(archive: Path, member: Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with damage_named(archive, member.name), member.open() as source, target.open("xb") as file:
        written = _copy(source, file, member.size)
    if written != member.size:
        found = (
            f"more than the {member.size:,}"
            if written > member.size
            else f"{written:,} of the {member.size:,}"
        )
        raise ArchiveError(
            f"{archive}: member {shown(member.name)} holds {found} bytes that its header declares; {REMEDY}"
        )


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> int:
    """Copy until the end or until more than `size` bytes have come; return how many came."""
    count = 0
    while count <= size and (chunk := source.read(CHUNK)):
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
