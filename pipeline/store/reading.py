"""Reading a feature: one clip at random, or all of it for training."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from extractors import Features
from pipeline.store.block import Block, ClipKey
from pipeline.store.errors import StoreCorruptError, StoreError
from pipeline.store.opening import Shard, open_shard
from pipeline.store.shards import Record, read_record
from pipeline.store.verified import Verified

_KEPT_BYTES = 256 * 1024 * 1024
_KEPT_FILES = 512  # half of what a process may open by default


class FeatureStore:
    """The shards of one feature, opened for reading. Every shard is verified before its first use.

    Args:
        folder: Where the shards lie.
        shards: Their file names, in order; None: all that have a record.
        identity_sha256: What they must have been made by; None: whatever their records say.
        kept_bytes: A feature of up to this size stays in memory, shard by shard, once it was touched; of a
            larger one only the clip that is asked for is read.

    Raises:
        StoreCorruptError: If a record is absent or damaged, or two shards hold the same clip.
    """

    def __init__(
        self,
        folder: Path | str,
        shards: Sequence[str] | None = None,
        identity_sha256: str | None = None,
        *,
        kept_bytes: int = _KEPT_BYTES,
    ) -> None:
        self._folder = folder = Path(folder)
        self._verified = Verified(folder)
        names = sorted(p.with_suffix(".h5").name for p in folder.glob("shard-*.json"))
        self._shards = [(folder / n, _record(folder / n)) for n in (names if shards is None else shards)]
        self._fingerprint = identity_sha256
        self._places: dict[ClipKey, tuple[int, int]] = {
            key: (s, i) for s, (_, record) in enumerate(self._shards) for i, key in enumerate(record.clips)
        }
        if len(self._places) < sum(len(record.ids) for _, record in self._shards):
            raise StoreCorruptError(
                f"{folder}: a clip is in two shards; run python -m pipeline.store verify to see which"
            )
        self._keeps = self.nbytes <= kept_bytes
        self._blocks: dict[int, Block] = {}
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[ClipKey]:
        return iter(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __getitem__(self, key: ClipKey) -> Features:
        """Return the features of a clip, by clip id and view.

        Raises:
            KeyError: If it is not in the store.
            StoreError: If its shard is damaged.
        """
        shard, i = self._places[key]
        block = self._blocks.get(shard)
        if block is None and self._keeps:
            block = self._blocks[shard] = self._decode(shard)
        return self._opened(shard).clip(i) if block is None else block[i]

    def with_pictures(self, key: ClipKey) -> Features:
        """Return the features of a clip with the pictures of its rows.

        Raises:
            KeyError: If it is not in the store.
            StoreError: If its shard is damaged.
        """
        shard, i = self._places[key]
        return replace(self[key], pictures=self._opened(shard).pictures(i))

    @property
    def sha256(self) -> str:
        """Fingerprint of all shards and of what they must have been made by."""
        sums = [self._fingerprint or "", *(record.sha256 for _, record in self._shards)]
        return hashlib.sha256("\n".join(sums).encode()).hexdigest()

    def sha256_of(self, key: ClipKey) -> str:
        """Return the sha256 of the shard that holds a clip, or "" if none does."""
        return self._shards[self._places[key][0]][1].sha256 if key in self._places else ""

    def blocks(self) -> Iterator[Block]:
        """Yield the clips of every shard, each shard read in one go."""
        for shard, (_, record) in enumerate(self._shards):
            if record.ids:
                yield self._blocks.get(shard) or self._decode(shard)

    @property
    def nbytes(self) -> int:
        """Bytes of the shards."""
        return sum(record.bytes for _, record in self._shards)

    def feature_names(self) -> list[str]:
        """Return the `[D]` feature names.

        Raises:
            StoreError: If the store holds no clip, or its first shard is damaged.
        """
        for path, record in self._shards:
            if record.ids:
                with self._verified_shard(path, record) as shard:
                    return shard.names()
        raise StoreError(f"{self._folder}: every clip failed, see failures.csv there")

    def close(self) -> None:
        """Close the files that random reading keeps open."""
        while self._open:
            self._open.popitem()[1].close()

    def _decode(self, shard: int) -> Block:
        with self._verified_shard(*self._shards[shard]) as opened:
            return opened.read()

    def _opened(self, shard: int) -> Shard:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        if len(self._open) >= _KEPT_FILES:
            self._open.popitem(last=False)[1].close()
        self._open[shard] = self._verified_shard(*self._shards[shard])
        return self._open[shard]

    def _verified_shard(self, path: Path, record: Record) -> Shard:
        self._verified.require(path, record)
        return open_recorded(path, record, self._fingerprint)


def open_recorded(path: Path, record: Record, fingerprint: str | None = None) -> Shard:
    """Open a shard that must hold what its record says.

    Args:
        path: The shard.
        record: Its record.
        fingerprint: The sha256 of the identity that it must have been made by; None: the record's.

    Raises:
        StoreError: See `open_shard`; also if its clips are not the record's.
    """
    shard = open_shard(path, fingerprint or record.identity_sha256)
    if shard.keys != record.clips:
        shard.close()
        raise StoreCorruptError(
            f"{path}: holds other clips than its record says; delete both and run python -m pipeline.extract"
        )
    return shard


def _record(shard: Path) -> Record:
    record = read_record(shard)
    if record is None:
        raise StoreCorruptError(
            f"{shard}: its record is absent or damaged; run python -m pipeline.extract again"
        )
    return record
