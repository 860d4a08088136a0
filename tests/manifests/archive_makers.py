"""Archives as publishers, and as enemies, make them."""

import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from manifests.archive import folder_beside, unpack
from manifests.archive_checks import DEFAULT_LIMITS, Limits
from manifests.archive_members import ArchiveError

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


def refusal(archive: Path, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return the message of a refusal that left the disk as it was."""
    before = listing(archive.parent.parent)
    with pytest.raises(ArchiveError) as caught:
        unpack(archive, folder_beside(archive), limits)
    assert listing(archive.parent.parent) == before
    message = str(caught.value)
    assert archive.name in message
    assert len(message) < 800
    return message
