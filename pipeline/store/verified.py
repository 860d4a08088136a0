"""Which shards are known to be whole, so that a resumed run need not read terabytes.

A shard's sha256 is computed when it is written and whenever its size or a time stamp of its inode differ from
when that was done last. `python -m pipeline.store verify` reads everything.
"""

from pathlib import Path
from typing import Any

from affectstack.hashing import file_sha256
from pipeline.files import publish_json, read_json
from pipeline.store.errors import StoreCorruptError
from pipeline.store.shards import Record

_FILE = "verified.json"


class Verified:
    """What is known about the shards of one folder.

    Args:
        folder: Where the shards lie.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        known = (read_json(self._path) or {}).get("shards")
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}
        self._changed = False

    def holds(self, shard: Path, record: Record) -> bool:
        """Tell whether a shard's bytes are what its record says."""
        if not record.sha256:
            return not record.ids
        stamp = _stamp(shard)
        if stamp is None or stamp[0] != record.bytes:
            return False
        seal = [*stamp, record.sha256]
        if self._known.get(shard.name) != seal:
            if not _has_sha256(shard, record.sha256):
                return False
            self._known[shard.name] = seal
            self._changed = True
        return True

    def seal(self, shard: Path, record: Record) -> None:
        """Note that a shard was just written and is what its record says."""
        if record.sha256 and (stamp := _stamp(shard)) is not None:
            self._known[shard.name] = [*stamp, record.sha256]
            self._changed = True

    def require(self, shard: Path, record: Record) -> None:
        """Refuse a shard whose bytes are not what its record says.

        Raises:
            StoreCorruptError: If they are not.
        """
        if not self.holds(shard, record):
            raise StoreCorruptError(
                f"{shard}: absent, cut or changed since it was written; run python -m pipeline.extract "
                "again, it makes this shard anew"
            )

    def look_again(self, shard: Path, record: Record) -> bool:
        """Tell whether a shard's bytes are what its record says, trusting nothing that was known."""
        self.forget(shard)
        return self.holds(shard, record)

    def forget(self, shard: Path) -> None:
        """Know nothing about a shard any more, so that its bytes are looked at before the next use."""
        self._changed |= self._known.pop(shard.name, None) is not None

    def save(self) -> None:
        """Keep what was found, if anything was."""
        if self._changed:
            publish_json(self._path, {"shards": self._known})
            self._changed = False


def _has_sha256(path: Path, expected: str) -> bool:
    """Tell whether a file can be read and has a sha256."""
    try:
        return file_sha256(path) == expected
    except OSError:
        return False


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
