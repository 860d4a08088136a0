"""Clip ids made of the paths of files."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePosixPath


def ids_of(paths: Iterable[str]) -> dict[str, str]:
    """Return an id of each path: its stem where stems differ, the whole path where they do not."""
    files = set(paths)
    named = {p: slug(PurePosixPath(p).stem) for p in files}
    if len(set(named.values())) < len(files):
        named = {p: slug(str(PurePosixPath(p).with_suffix(""))) for p in files}
    if len(set(named.values())) < len(files):
        named = {p: _marked(p) for p in files}
    return named


def slug(text: str) -> str:
    """Make an id of a name; a name that would lose letters gets a mark of its own instead."""
    if len(text) > 100 or re.search(r"[^A-Za-z0-9._/ -]", text) or not re.search(r"[A-Za-z0-9]", text):
        return _marked(text)
    return _plain(text)


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")[-100:]


def _marked(text: str) -> str:
    return f"{_plain(text)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".strip("-")
