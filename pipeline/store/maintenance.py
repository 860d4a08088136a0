"""Looking after the stores of a workspace: what is there, whether it is whole, what nobody needs."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from extractors import Features, check_features
from extractors.contract import ClipError
from pipeline.store.errors import StoreError, StoreVersionError
from pipeline.store.reading import open_recorded
from pipeline.store.shards import Record, read_record, record_path
from pipeline.store.verified import Verified

_TEMPORARY = re.compile(r"\..+\.(\d{1,9})-[0-9a-f]{32}\.tmp")
_IDENTITY = re.compile(r"[0-9a-f]{12}")
_SHARD = re.compile(r"shard-\d{5,}\.(h5|json)")
_DAY = 86400.0


@dataclass(frozen=True)
class Use:
    """What a feature's index says about its store.

    Attributes:
        feature: The feature's name.
        folder: Its shards.
        shards: Their file names, in order.
        identity_sha256: What they must have been made by.
        untrained: True if the extractor's weights are random.
        command: What makes damaged shards anew.
    """

    feature: str
    folder: Path
    shards: Sequence[str]
    identity_sha256: str
    untrained: bool
    command: str


@dataclass(frozen=True)
class Contents:
    """One store folder, for listing. `dim` is None where no shard can be read.

    Attributes:
        folder: `<extractor>/<identity>`, relative to the features folder.
        features: The names that use it.
        clips: How many are there.
        rows: Of all clips.
        dim: D.
        failed: How many clips failed.
        silent: How many clips are digital silence.
        bytes: Of its files.
        untrained: True if the extractor's weights are random, as far as a feature says so.
    """

    folder: Path
    features: list[str]
    clips: int
    rows: int
    dim: int | None
    failed: int
    silent: int
    bytes: int
    untrained: bool


@dataclass(frozen=True)
class Garbage:
    """A file or folder that nobody needs."""

    path: Path
    why: str
    bytes: int

    def delete(self) -> None:
        """Delete it; a link itself, never what it leads to."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


def store_folders(features: Path) -> list[Path]:
    """Return every `<extractor>/<identity>` folder; links are not followed."""
    return [
        folder
        for extractor in _folders(features)
        for folder in _folders(extractor)
        if _IDENTITY.fullmatch(folder.name)
    ]


def contents(features: Path, uses: Sequence[Use]) -> Iterator[Contents]:
    """Yield what every store folder holds, by its records."""
    for folder in store_folders(features):
        using = [u for u in uses if u.folder == folder]
        records = list(_records(folder))
        yield Contents(
            folder=folder.relative_to(features),
            features=sorted(u.feature for u in using),
            clips=sum(len(r.ids) for _, r in records),
            rows=sum(r.rows for _, r in records),
            dim=_dim(folder, records),
            failed=sum(len(r.failures) for _, r in records),
            silent=sum(len(r.silent) for _, r in records),
            bytes=_size(folder),
            untrained=any(u.untrained for u in using),
        )


def verify(use: Use, on_shard: Callable[[int], None] = lambda size: None) -> list[str]:
    """Read everything of a feature.

    Args:
        use: The feature.
        on_shard: Called after each shard with its bytes.

    Returns:
        One line for every problem, which says what to do.
    """
    verified, problems = Verified(use.folder), []
    owners: dict[tuple[str, str], str] = {}
    for name in use.shards:
        path = use.folder / name
        problem, record = _verify_shard(path, use, verified)
        for key in record.clips if record else ():
            if (first := owners.setdefault(key, name)) != name:
                problem = problem or f"{path}: clip {key[0]} is also in {first}; run: {use.command}"
        if problem:
            verified.forget(path)
            problems.append(problem)
        on_shard(record.bytes if record else 0)
    for path in sorted(_stray(use.folder, set(use.shards))):
        problems.append(f"{path}: no feature lists it; python -m pipeline.store gc can delete it")
    verified.save()
    return problems


def garbage(features: Path, uses: Sequence[Use], days: float = 1.0) -> Iterator[Garbage]:
    """Yield what nobody needs below a features folder and nobody touched for some days.

    Args:
        features: The features folder.
        uses: Every feature's index; a folder that none of them names is unused.
        days: A running or interrupted extraction has no index yet, so what is younger stays.
    """
    oldest, stores = time.time() - days * _DAY, store_folders(features)
    for folder in [features, *_folders(features), *stores]:
        for path in _temporaries(folder, time.time() - _DAY):
            yield Garbage(path, "left by a process that died", _size(path))
    for folder in stores:
        for path, why in _unused(folder, [u for u in uses if u.folder == folder]):
            if _touched(path) < oldest:
                yield Garbage(path, why, _size(path))


def decoded_sound(workspace: Path, days: float = 1.0) -> Iterator[Garbage]:
    """Yield the sound that `finetune` keeps decoded, if nobody touched it for some days: it is made anew."""
    for folder in _folders(workspace / "finetune" / "sound"):
        newest = max((p.lstat().st_mtime for p in folder.rglob("*")), default=folder.lstat().st_mtime)
        if newest < time.time() - days * _DAY:
            yield Garbage(folder, "decoded sound, which finetune makes anew if need be", _size(folder))


def sweep_temporaries(folder: Path) -> int:
    """Delete temporary files of dead processes that are older than a day.

    Args:
        folder: Where to look; not below.

    Returns:
        How many were deleted.
    """
    swept = 0
    for path in _temporaries(folder, time.time() - _DAY):
        with contextlib.suppress(OSError):  # of somebody else, or gone
            path.unlink()
            swept += 1
    return swept


def _verify_shard(path: Path, use: Use, verified: Verified) -> tuple[str, Record | None]:
    """Return what is wrong with a shard, or "", and its record."""
    try:
        record = read_record(path)
    except StoreVersionError as error:
        return str(error), None
    if record is None:
        return f"{record_path(path)}: absent or damaged; run: {use.command}", None
    if record.identity_sha256 != use.identity_sha256:
        return f"{record_path(path)}: made by another extractor; delete it and run: {use.command}", record
    if not verified.look_again(path, record):
        return f"{path}: absent, cut or changed since it was written; run: {use.command}", record
    return (_verify_data(path, record, use) if record.ids else ""), record


def _verify_data(path: Path, record: Record, use: Use) -> str:
    try:
        with open_recorded(path, record) as shard:
            block, names = shard.read(), shard.names()
            for i in range(len(record.ids)):
                shard.pictures(i)
        check_features(Features(block.values, block.intervals, block.valid), len(names))
        if len(block.values) != record.rows:
            raise StoreError(f"{path}: {len(block.values)} rows; its record says {record.rows}")
    except StoreVersionError as error:
        return str(error)
    except (StoreError, ClipError) as error:
        # Its bytes are what the record says, so that extracting again would find it finished.
        return f"{error}. Delete it and its record, then run: {use.command}"
    return ""


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, links left out."""
    return sorted(Path(e) for e in _entries(folder) if e.is_dir(follow_symlinks=False))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _records(folder: Path) -> Iterator[tuple[Path, Record]]:
    for path in sorted(folder.glob("shard-*.json")):
        try:
            record = read_record(path.with_suffix(".h5"))
        except StoreVersionError:
            continue
        if record is not None:
            yield path.with_suffix(".h5"), record


def _dim(folder: Path, records: Sequence[tuple[Path, Record]]) -> int | None:
    verified = Verified(folder)
    for path, record in records:
        if record.ids and verified.holds(path, record):
            try:
                with open_recorded(path, record) as shard:
                    return shard.dim
            except StoreError:
                continue
    return None


def _unused(folder: Path, using: Sequence[Use]) -> Iterator[tuple[Path, str]]:
    """Yield what no feature needs in a store folder, or the whole folder, and why."""
    if not using:
        yield folder, "no feature uses it"
        return
    listed = {name for use in using for name in use.shards}
    for path in _stray(folder, listed):
        yield path, "no feature lists it"
    yield from _widows(folder, listed)


def _stray(folder: Path, listed: set[str]) -> Iterator[Path]:
    """Yield shards and records that are in no index."""
    for entry in _entries(folder):
        if _SHARD.fullmatch(entry.name) and Path(entry.name).with_suffix(".h5").name not in listed:
            yield Path(entry)


def _widows(folder: Path, listed: set[str]) -> Iterator[tuple[Path, str]]:
    """Yield listed shards without a record, and records without their shard."""
    for name in sorted(listed):
        shard = folder / name
        try:
            record = read_record(shard)
        except StoreVersionError:
            continue
        if record is None and shard.exists():
            yield shard, "has no record"
        elif record is not None and record.sha256 and not shard.exists():
            yield record_path(shard), "its shard is gone"


def _temporaries(folder: Path, oldest: float) -> Iterator[Path]:
    for entry in _entries(folder):
        name = _TEMPORARY.fullmatch(entry.name)
        old = entry.is_file(follow_symlinks=False) and _touched(Path(entry)) < oldest
        if name and old and not _alive(int(name[1])):
            yield Path(entry)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _touched(path: Path) -> float:
    """Return when a file, or the newest of the files in a folder, was written last."""
    inside = _entries(path) if path.is_dir() and not path.is_symlink() else []
    times = (e.stat(follow_symlinks=False).st_mtime for e in inside)
    return max(times, default=path.lstat().st_mtime)


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(_size(Path(e)) for e in _entries(path))
