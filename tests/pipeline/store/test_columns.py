import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.columns import Column, chunk_rows, fletcher32


def stored(data: np.ndarray, **options: object) -> bytes:
    """Return the bytes of a one-chunk dataset, checksum included, as HDF5 writes them."""
    with h5py.File.in_memory() as file:
        made = file.create_dataset("x", data=data, chunks=data.shape, fletcher32=True, **options)
        file.flush()
        place = made.id.get_chunk_info(0)
        return file.id.get_file_image()[place.byte_offset : place.byte_offset + place.size]


@settings(max_examples=150, deadline=None)
@given(size=st.integers(1, 5000), seed=st.integers(0, 2**32 - 1), high=st.sampled_from([1, 2, 256]))
def test_the_checksum_is_that_of_hdf5(size: int, seed: int, high: int) -> None:
    data = np.random.default_rng(seed).integers(0, high, size, dtype=np.uint8)
    theirs = int.from_bytes(stored(data)[-4:], "little")
    ours = fletcher32(data)
    assert (ours >> 16, ours & 0xFFFF) == ((theirs >> 16) % 65535, (theirs & 0xFFFF) % 65535)


def test_the_checksum_of_the_largest_words_is_that_of_hdf5() -> None:
    data = np.full(65535 * 2, 0xFF, np.uint8)  # every sum is a multiple of 65535
    theirs = int.from_bytes(stored(data)[-4:], "little")
    assert fletcher32(data) == 0
    assert theirs == 0xFFFFFFFF


def test_a_checksum_that_hdf5_writes_in_another_way_fits(tmp_path: Path) -> None:
    data = np.full(65535 * 2, 0xFF, np.uint8)
    (tmp_path / "column").write_bytes(stored(data))
    made = Column(data.shape, data.dtype, len(data), {0: (0, len(data) + 4)})
    with (tmp_path / "column").open("rb") as file:
        np.testing.assert_array_equal(made.read(file.fileno()), data)


def test_the_checksum_of_a_large_chunk_does_not_overflow() -> None:
    data = np.full(48_000_000, 0xFE, np.uint8)
    word, n = 0xFEFE, 24_000_000
    assert fletcher32(data) == (word * n * (n + 1) // 2 % 65535) << 16 | word * n % 65535


def column(tmp_path: Path, data: np.ndarray, rows: int) -> tuple[Column, int]:
    """Write chunks and their checksums into a file of their own."""
    places, content = {}, bytearray(b"head")
    for i, first in enumerate(range(0, len(data), rows)):
        whole = np.zeros((rows, *data.shape[1:]), data.dtype)
        part = data[first : first + rows]
        whole[: len(part)] = part
        places[i] = (len(content), whole.nbytes + 4)
        content += whole.tobytes() + fletcher32(whole.reshape(-1).view(np.uint8)).to_bytes(4, "little")
    (tmp_path / "column").write_bytes(content)
    return Column(data.shape, data.dtype, rows, places), os.open(tmp_path / "column", os.O_RDONLY)


@pytest.mark.parametrize("rows", [1, 3, 10, 25])
def test_any_slice_of_rows_is_what_was_written(tmp_path: Path, rows: int) -> None:
    data = np.random.default_rng(rows).normal(size=(25, 3)).astype(np.float32)
    made, descriptor = column(tmp_path, data, rows)
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


def test_a_damaged_chunk_is_seen_in_threads_too(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(64, 3))
    made, descriptor = column(tmp_path, data, 2)
    content = bytearray((tmp_path / "column").read_bytes())
    content[made.places[20][0]] ^= 1
    (tmp_path / "column").write_bytes(content)
    with pytest.raises(ValueError, match="checksum of chunk 20"):
        made.read(descriptor)
    os.close(descriptor)


def packed(tmp_path: Path, data: bytes, shape: int = 1000) -> tuple[Column, int]:
    content = np.frombuffer(data, np.uint8)
    (tmp_path / "packed").write_bytes(data + fletcher32(content).to_bytes(4, "little"))
    made = Column((shape,), np.dtype("S8"), 1000, {0: (0, len(data) + 4)})
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


def test_a_forked_process_reads_with_threads_of_its_own(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(64, 3))
    made, descriptor = column(tmp_path, data, 2)
    made.read(descriptor)  # starts the threads
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(10)  # kills it where it would wait forever
        os._exit(0 if np.array_equal(made.read(descriptor), data) else 1)
    assert os.waitpid(child, 0)[1] == 0
    os.close(descriptor)


def test_chunks_hold_whole_rows_and_at_least_one() -> None:
    single = np.dtype("float32")
    assert chunk_rows((1000, 64), single, 2560, 10**6) == 10
    assert chunk_rows((5, 64), single, 2560, 10**6) == 5
    assert chunk_rows((5, 10**6), single, 2560, 10**6) == 1
    assert chunk_rows((10**9,), np.dtype("S1"), 2**40, 1000) == 1000
