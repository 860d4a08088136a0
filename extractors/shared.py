"""What the extractors of one clip have in common: its media, decoded once."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


class Shared:
    """Gives several extractors of one clip the same decoded media.

    Args:
        rates: The sampling rates, in Hz, that will be asked for.
        readers: How many readers every stream will have; what all of them have read is forgotten.
        still_alive: Called by extractors that work for long before they give anything.
        tape: The sound that earlier clips were cut from, for one that follows them in the same file; see
            `extractors.tape.Tape`.
    """

    def __init__(
        self,
        rates: frozenset[int] = frozenset(),
        readers: int = 1,
        still_alive: Callable[[], None] = lambda: None,
        tape: Any = None,
    ) -> None:
        self.rates = rates
        self.tape = tape
        self.readers = readers
        self.still_alive = still_alive
        self._made: dict[Hashable, Any] = {}
        self._streams: dict[Hashable, tuple[int, Any, Any]] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` gives, made once for all who ask for this key."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def stream(self, key: Hashable, make: Callable[[], Iterator[T]]) -> Iterator[T]:
        """Return one reader's view of a stream that is produced once."""
        asked, source, first = self._streams.get(key, (0, None, None))
        if source is None:
            source, first = _with_error(make()), []
        last = asked + 1 >= self.readers
        # A beginning that nobody reads from would hold everything that was produced.
        self._streams[key] = (asked + 1, None, None) if last else (asked + 1, source, first)
        return _followed(source, first)


@dataclass(frozen=True)
class _Broken:
    """The end of a stream that broke, for everybody who reads it."""

    error: Exception


def _with_error(stream: Iterator[T]) -> Iterator[T | _Broken]:
    try:
        yield from stream
    except Exception as error:  # bugs and MemoryError too: whoever reads later would see a shorter stream
        yield _Broken(error)


def _followed(source: Iterator[T | _Broken], link: list[Any]) -> Iterator[T]:
    """Yield from a link on: empty where nobody was yet, else an item and the next link.

    `itertools.tee` would do the same, but holds on to up to 57 items that all have read.
    """
    while True:
        if not link:
            item = next(source, _END)
            if item is _END:
                return
            link += [item, []]
        item, link = link
        if isinstance(item, _Broken):
            raise item.error
        yield item
        del item  # before the next one is produced
