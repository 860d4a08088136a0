"""The index of chunks, as a hostile file could state it; whole files are tested in test_layout."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.store import StoreUnsafeError
from pipeline.store import inspection as module


class Chunk(NamedTuple):
    chunk_offset: tuple[int, int]
    byte_offset: int
    size: int


class Index:
    """What HDF5 tells about the chunks of a dataset of ten rows."""

    shape = (10, 3)

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self.told = 0

    def chunk_iter(self, callback: Callable[[Chunk], Any]) -> None:
        for chunk in self._chunks:
            self.told += 1
            if callback(chunk) is not None:
                return


def places(index: Index, size: int = 1000) -> dict[int, tuple[int, int]]:
    return module._places(Path("s.h5"), index, 2, size)  # type: ignore[arg-type]


def honest() -> list[Chunk]:
    return [Chunk((2 * i, 0), 100 + 28 * i, 28) for i in range(5)]


def test_chunks_lie_where_the_index_says() -> None:
    assert places(Index(iter(honest()))) == {i: (100 + 28 * i, 28) for i in range(5)}


def test_an_index_without_end_is_left_after_one_chunk_too_many() -> None:
    index = Index(Chunk((2 * i, 0), 100, 28) for i in count())
    with pytest.raises(StoreUnsafeError, match="index names more chunks than the file can hold"):
        places(index)
    assert index.told == 6


@pytest.mark.parametrize("offset", [973, 2**63 - 1, 2**63 + 5, 2**64 - 1])
def test_chunks_behind_the_end_of_the_file_are_refused(offset: int) -> None:
    chunks = honest()
    chunks[3] = Chunk((6, 0), offset, 28)
    with pytest.raises(StoreUnsafeError, match="behind the end of the file"):
        places(Index(iter(chunks)))


def test_chunks_that_share_their_bytes_cannot_be_more_than_the_file() -> None:
    with pytest.raises(StoreUnsafeError, match="more chunks than the file can hold"):
        places(Index(Chunk((2 * i, 0), 100, 300) for i in range(5)))
