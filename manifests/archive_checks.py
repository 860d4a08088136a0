"""What a member of an archive may be, judged before the first byte is written."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from manifests.archive_members import REMEDY, ArchiveError, Member, shown, size_text
from manifests.paths import path_problem

RECORD = ".unpacked.json"


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


DEFAULT_LIMITS = Limits()


def checked(
    archive: Path, members: Iterable[Member], packed: int, room: int, limits: Limits
) -> list[tuple[Member, PurePosixPath]]:
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
            raise ArchiveError(f"{archive}: member {shown(member.name)} {problem}; {REMEDY}")
    if not files:
        raise ArchiveError(f"{archive}: holds no files; expected a corpus; {REMEDY}")
    return files


def _name_problem(member: Member) -> str | None:
    if problem := path_problem(member.name):
        return f"has a path that {problem}"
    parts = PurePosixPath(member.name).parts
    if not parts and not member.is_folder:
        return "has no name"
    if len(member.name.encode()) > 1024 or any(len(p.encode()) > 255 for p in parts):
        return "has a name longer than file systems take; allowed are 255 bytes, 1,024 with its folders"
    return None


def _member_problem(member: Member, limits: Limits) -> str | None:
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
        return f"takes the place of {shown(other)}; allowed are names that differ, case and accents aside"


def _is_extra(path: PurePosixPath) -> bool:
    """Say whether a file is what macOS adds, or the record of an earlier unpacking."""
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name in (".DS_Store", RECORD)
