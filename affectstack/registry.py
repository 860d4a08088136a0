"""Names that configuration files use for classes of the code."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from affectstack.errors import AffectstackError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named classes, filled by decorators and iterated by tests.

    Args:
        kind: What the entries are, as error messages call them ("extractor", "head").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that enters the class under `name`.

        Raises:
            ValueError: If the name is taken: two classes of one name are a bug, never a choice.
        """

        def enter(entry: type[T]) -> type[T]:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._entries:
            raise AffectstackError(f"unknown {self.kind} {name!r}{did_you_mean(name, self)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries
