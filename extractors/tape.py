"""The sound of long files, for clips that follow each other in them."""

from collections import deque
from collections.abc import Generator
from pathlib import Path

from extractors.sound_blocks import Block, decode

_KEPT = 1 << 23  # samples of a tape: three minutes at 48 kHz, 32 MB


class Tape:
    """The sound of a long file, decoded forward once for pieces that follow each other.

    What was decoded last is kept, for pieces that overlap. A piece that begins before it, or lies in another
    file, is decoded from the beginning of its file, and so is whatever follows an error.
    """

    def __init__(self) -> None:
        self._stamp: tuple[Path | int, ...] | None = None
        self._source: Generator[Block, None, None] | None = None
        self._kept: deque[Block] = deque()

    def play(self, path: Path, start: float) -> Generator[Block, None, None]:
        """Yield the blocks of a file from one that begins at `start` or before, or from the first."""
        found = path.stat()
        stamp = (path, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp or not self._kept or (self._kept[0].offset and self._kept[0].time > start):
            self.forget()
            self._stamp, self._source = stamp, decode(path)
        last = self._kept[-1] if self._kept else None  # what lies behind the end is told by it
        yield from [block for block in self._kept if block is last or block.end >= start]
        while (block := self._next()) is not None:
            yield block

    def forget(self) -> None:
        """Close the file."""
        if self._source is not None:
            self._source.close()
        self._stamp, self._source = None, None
        self._kept.clear()

    def _next(self) -> Block | None:
        """Decode on; an end is an end for later pieces too, an error is one when it is met again."""
        assert self._source is not None  # noqa: S101  # asked while it plays
        try:
            block = next(self._source, None)
        except BaseException:
            self.forget()
            raise
        if block is not None:
            self._kept.append(block)
            while len(self._kept) > 1 and sum(len(b.samples) for b in self._kept) > _KEPT:
                self._kept.popleft()
        return block
