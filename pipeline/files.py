"""Publishing files: whole or not at all."""

import contextlib
import errno
import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from affectstack import AffectstackError

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class WriteError(AffectstackError):
    """A file could not be written; nothing half-written is left under its name."""


def publish(path: Path, data: bytes, *, read_only: bool = False) -> None:
    """Write a file so that a reader sees the old one, the new one, and nothing between.

    Unique temporary name, fsync, rename over the final name, fsync of the folder.

    Raises:
        WriteError: If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if read_only:
            temporary.chmod(0o444)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise WriteError(f"cannot write {path} ({len(data)} bytes): {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is at this place, as somebody must who reads a file, adds and publishes.

    A hidden file beside it is locked, and stays. The lock ends with the process, however that ends.

    Raises:
        WriteError: If the folder cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WriteError(f"cannot write {lock}: {error.strerror}") from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def canonical_json(value: Any) -> str:
    """Return JSON that is equal for equal values, for hashing and for files that must not differ."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def publish_json(path: Path, value: Any, *, read_only: bool = False) -> None:
    """Publish a value as readable JSON."""
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
    publish(path, f"{text}\n".encode(), read_only=read_only)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None if the file is absent or damaged."""
    try:
        value = from_json(path.read_bytes(), cache_strings="keys")
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def as_text(cell: str) -> str:
    """Return a cell of a CSV file that no spreadsheet takes for a formula: with an apostrophe before one."""
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def as_meant(cell: str) -> str:
    """Return what `as_text` was given."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell
