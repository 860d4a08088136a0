"""What is shared is made once, reaches everybody whole, and is forgotten."""

import gc
import weakref
from collections.abc import Iterator
from itertools import islice, zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.contract import Clip, DecodeError, LimitExceededError
from extractors.shared import Shared


class Item:
    """Something that can be weakly referred to."""


class Source:
    """A stream that remembers how often it was started, and what it gave that is still alive."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.count, self.error, self.started = count, error, 0
        self.given: list[weakref.ref[Item]] = []

    def __call__(self) -> Iterator[Item]:
        self.started += 1
        for _ in range(self.count):
            item = Item()
            self.given.append(weakref.ref(item))
            yield item
            del item
        if self.error is not None:
            raise self.error

    def alive(self) -> int:
        gc.collect()
        return sum(ref() is not None for ref in self.given)


def test_a_thing_is_made_once_for_each_key() -> None:
    shared, made = Shared(), []
    for key in ("a", "b", "a", "a", "b"):
        assert shared.once(key, lambda key=key: made.append(key) or key.upper()) == key.upper()  # type: ignore[misc]
    assert made == ["a", "b"]


def test_nothing_is_a_thing_that_was_made() -> None:
    shared, made = Shared(), []
    for _ in range(3):
        assert shared.once("a", lambda: made.append(1)) is None
    assert made == [1]


def test_whoever_asks_for_what_cannot_be_made_gets_the_error() -> None:
    def refuse() -> None:
        raise DecodeError("a.wav: not media")

    shared = Shared()
    for _ in range(3):
        with pytest.raises(DecodeError, match=r"^a\.wav: not media$"):
            shared.once("a", refuse)


@pytest.mark.parametrize("readers", [1, 2, 3, 5])
def test_all_readers_in_turn_see_the_same_items(readers: int) -> None:
    shared, source = Shared(readers=readers), Source(4)
    found = [list(shared.stream("a", source)) for _ in range(readers)]
    assert [list(map(id, f)) for f in found] == [list(map(id, found[0]))] * readers
    assert (len(found[0]), source.started) == (4, 1)


@given(order=st.lists(st.integers(0, 2), max_size=40), count=st.integers(0, 8))
def test_readers_may_go_at_any_pace(order: list[int], count: int) -> None:
    shared = Shared(readers=3)
    streams = [shared.stream("a", lambda: iter(range(count))) for _ in range(3)]
    found: list[list[int]] = [[], [], []]
    for reader in order:
        found[reader] += islice(streams[reader], 1)
    for reader in range(3):
        found[reader] += streams[reader]
    assert found == [list(range(count))] * 3


def test_streams_of_different_keys_are_different() -> None:
    shared = Shared(readers=2)
    pairs = [("a", 2), ("b", 3), ("a", 2), ("b", 3)]
    assert [len(list(shared.stream(key, Source(count)))) for key, count in pairs] == [2, 3, 2, 3]


@pytest.mark.parametrize("readers", [1, 2, 3])
def test_what_all_have_read_is_forgotten(readers: int) -> None:
    shared, source = Shared(readers=readers), Source(12)
    streams = [shared.stream("a", source) for _ in range(readers)]
    for number, row in enumerate(zip(*streams, strict=True)):
        assert len(set(map(id, row))) == 1
        assert source.alive() <= 2, number  # the one that all hold, and the one before in zip's hands
        del row
    assert source.started == 1


def test_nothing_that_was_read_is_held_while_the_next_is_made() -> None:
    """One decoded picture of film takes a hundred megabytes."""
    left = []

    def produce() -> Iterator[Item]:
        for _ in range(5):
            left.append(source.alive())
            item = Item()
            source.given.append(weakref.ref(item))
            yield item
            del item

    source = Source(0)
    for item in Shared().stream("a", produce):
        assert isinstance(item, Item)
        del item
    assert left == [0] * 5


def test_what_one_has_not_read_is_kept_for_it() -> None:
    shared, source = Shared(readers=2), Source(5)
    ahead, behind = (shared.stream("a", source) for _ in range(2))
    assert len(list(ahead)) == 5
    assert source.alive() == 5
    next(behind)
    assert source.alive() <= 5
    assert len(list(behind)) == 4
    assert source.alive() == 0


def test_a_reader_that_gives_up_holds_nothing_back() -> None:
    shared, source = Shared(readers=2), Source(12)
    first, second = (shared.stream("a", source) for _ in range(2))
    next(first)
    del first
    for _ in second:
        assert source.alive() <= 2


def test_a_stream_starts_with_its_first_reader() -> None:
    source = Source(3)
    stream = Shared(readers=2).stream("a", source)
    assert source.started == 0
    next(stream)
    assert source.started == 1


@pytest.mark.parametrize(
    "error",
    [
        DecodeError("a.mp4: breaks off"),
        LimitExceededError("a.mp4: too large"),
        MemoryError("no room"),
        KeyError("a bug"),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("together", [True, False])
def test_an_error_reaches_every_reader_behind_the_same_items(error: Exception, together: bool) -> None:
    """Otherwise whoever reads second would take a stream that broke for a short one."""
    shared, source = Shared(readers=3), Source(2, error)
    streams = [shared.stream("a", source) for _ in range(3)]
    if together:
        assert len([next(s) for _ in range(2) for s in streams]) == 6
    for stream in streams:
        count = 0
        with pytest.raises(type(error)) as caught:
            for _ in stream:
                count += 1
        assert count == (0 if together else 2)
        assert str(caught.value) == str(error)
    assert source.started == 1


def test_a_clip_is_the_same_clip_whatever_it_shares() -> None:
    one, other = Clip("a", shared=Shared()), Clip("a")
    assert one == other
    assert hash(one) == hash(other)
    assert "Shared" not in repr(one)


def test_readers_beyond_those_foretold_start_a_stream_of_their_own() -> None:
    shared, source = Shared(readers=1), Source(3)
    first, second = shared.stream("a", source), shared.stream("a", source)
    assert sum(x is not None and y is not None for x, y in zip_longest(first, second)) == 3
    assert source.started == 2
