import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.store.columns import Column, checksum, chunk_rows


def stored(data: np.ndarray, **options: object) -> bytes:
    """Return the bytes of a one-chunk dataset, checksum included, as HDF5 writes them."""
    with h5py.File.in_memory() as file:
        made = file.create_dataset("x", data=data, chunks=data.shape, fletcher32=True, **options)
        file.flush()
        place = made.id.get_chunk_info(0)
        return file.id.get_file_image()[place.byte_offset : place.byte_offset + place.size]


def column(tmp_path: Path, data: np.ndarray, rows: int, gaps: Sequence[int] = ()) -> tuple[Column, int]:
    """Write chunks, each with room for HDF5's checksum, into a file of their own."""
    places, content, sums = {}, bytearray(b"head"), []
    for i, first in enumerate(range(0, len(data), rows)):
        whole = np.zeros((rows, *data.shape[1:]), data.dtype)
        part = data[first : first + rows]
        whole[: len(part)] = part
        content += bytes(7 * (i in gaps))
        places[i] = (len(content), whole.nbytes + 4)
        content += whole.tobytes() + b"HDF5"
        sums.append(checksum(memoryview(whole.tobytes())))
    (tmp_path / "column").write_bytes(content)
    made = Column(data.shape, data.dtype, rows, places, np.array(sums, np.uint64))
    return made, os.open(tmp_path / "column", os.O_RDONLY)


@pytest.mark.parametrize("gaps", [(), (1,), (2, 3, 20)])
@pytest.mark.parametrize("rows", [1, 3, 10, 25])
def test_any_slice_of_rows_is_what_was_written(tmp_path: Path, rows: int, gaps: tuple[int, ...]) -> None:
    data = np.random.default_rng(rows).normal(size=(25, 3)).astype(np.float32)
    made, descriptor = column(tmp_path, data, rows, gaps)
    for first in range(25):
        for last in range(first, 26):
            np.testing.assert_array_equal(made.read(descriptor, first, last), data[first:last])
    np.testing.assert_array_equal(made.read(descriptor), data)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (None, "chunk 1 is absent"),
        ((4, 16), "chunk 1 is absent or of another size"),
        ((4, 45), "chunk 1 is absent or of another size"),
        ((100, 40), "chunk 1 is cut"),
        ((10**15, 40), "chunk 1 is cut"),
        ((8, 40), "checksum of chunk 1 does not fit"),
    ],
)
def test_a_chunk_that_is_not_there_is_an_error(
    tmp_path: Path, place: tuple[int, int] | None, message: str
) -> None:
    data = np.arange(27, dtype=np.float32).reshape(9, 3)
    made, descriptor = column(tmp_path, data, 3)
    if place is None:
        del made.places[1]
    else:
        made.places[1] = place
    np.testing.assert_array_equal(made.read(descriptor, 0, 3), data[:3])
    with pytest.raises(ValueError, match=message):
        made.read(descriptor, 2, 4)
    os.close(descriptor)


def test_the_first_chunk_that_is_cut_is_named(tmp_path: Path) -> None:
    made, descriptor = column(tmp_path, np.arange(75, dtype=np.float32).reshape(25, 3), 1)
    os.truncate(tmp_path / "column", made.places[7][0] + 3)
    with pytest.raises(ValueError, match="chunk 7 is cut"):
        made.read(descriptor)
    os.close(descriptor)


def test_a_damaged_chunk_is_seen_among_many(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(64, 3))
    made, descriptor = column(tmp_path, data, 2)
    content = bytearray((tmp_path / "column").read_bytes())
    content[made.places[20][0]] ^= 1
    (tmp_path / "column").write_bytes(content)
    with pytest.raises(ValueError, match="checksum of chunk 20"):
        made.read(descriptor)
    os.close(descriptor)


def packed(tmp_path: Path, data: bytes, shape: int = 1000) -> tuple[Column, int]:
    (tmp_path / "packed").write_bytes(data + b"HDF5")
    sums = np.array([checksum(memoryview(data))], np.uint64)
    made = Column((shape,), np.dtype("S8"), 1000, {0: (0, len(data) + 4)}, sums)
    return made, os.open(tmp_path / "packed", os.O_RDONLY)


def test_compressed_rows_come_back(tmp_path: Path) -> None:
    words = np.array([f"name{i}" for i in range(1000)], dtype="S8")
    made, descriptor = packed(tmp_path, stored(words, compression="gzip")[:-4], 990)
    np.testing.assert_array_equal(made.read_packed(descriptor), words[:990])
    os.close(descriptor)


@pytest.mark.parametrize("size", [0, 7999, 8001, 50_000_000])
def test_what_unpacks_to_another_size_is_refused_before_it_is_unpacked(tmp_path: Path, size: int) -> None:
    import tracemalloc
    import zlib

    made, descriptor = packed(tmp_path, zlib.compress(bytes(size)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="does not unpack to 8000 bytes"):
        made.read_packed(descriptor)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    os.close(descriptor)


def test_what_is_not_compressed_is_a_readable_error(tmp_path: Path) -> None:
    made, descriptor = packed(tmp_path, b"no zlib stream")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        made.read_packed(descriptor)
    os.close(descriptor)


def test_a_damaged_compressed_chunk_is_seen_before_it_is_unpacked(tmp_path: Path) -> None:
    made, descriptor = packed(tmp_path, b"no zlib stream")
    assert made.checksums is not None
    made.checksums[0] ^= 1
    with pytest.raises(ValueError, match="checksum of chunk 0"):
        made.read_packed(descriptor)
    os.close(descriptor)


def test_chunks_hold_whole_rows_and_at_least_one() -> None:
    single = np.dtype("float32")
    assert chunk_rows((1000, 64), single, 2560, 10**6) == 10
    assert chunk_rows((5, 64), single, 2560, 10**6) == 5
    assert chunk_rows((5, 10**6), single, 2560, 10**6) == 1
    assert chunk_rows((10**9,), np.dtype("S1"), 2**40, 1000) == 1000
