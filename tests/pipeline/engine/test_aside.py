import gc
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import aside
from pipeline.engine.aside import Aside


def address(rows: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> int:
    return rows.__array_interface__["data"][0]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 50)), max_size=60))
def test_rows_stay_what_they_were(shapes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    given_rows = [rng.random(shape, np.float32) for shape in shapes]
    place = Aside()
    kept = [place.keep(rows) for rows in given_rows]
    for rows, again in zip(given_rows, kept, strict=True):
        assert again.dtype == rows.dtype
        np.testing.assert_array_equal(again, rows)
        assert address(again) % 64 == 0 or not rows.size


def test_rows_lie_one_after_the_other_in_blocks_and_large_ones_have_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aside, "_BLOCK", 4096)
    place = Aside()
    small = [place.keep(np.zeros((1, 100), np.float32)) for _ in range(9)]
    steps = np.diff([address(rows) for rows in small])
    assert list(steps == 448) == [True] * 8
    assert place.keep(np.ones((3, 4096), np.float32)).sum() == 3 * 4096


@pytest.mark.parametrize("rows", [1, 600])
def test_a_block_is_memory_of_its_own_and_not_of_the_heap(rows: int) -> None:
    owner: Any = Aside().keep(np.zeros((rows, 2304), np.float32))
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap.mmap)


def test_what_is_no_array_of_numbers_is_left_to_those_who_judge_features() -> None:
    strange = np.array([[None, "x"]], dtype=object)
    assert Aside().keep(strange) is strange  # type: ignore[arg-type]
    assert Aside().keep([[1.0, 2.0]]).tolist() == [[1.0, 2.0]]  # type: ignore[arg-type]


def anonymous() -> int:
    """Return the bytes of memory that this process has of its own."""
    line = next(
        x for x in Path("/proc/self/smaps_rollup").read_text().splitlines() if x.startswith("Private_Dirty")
    )
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux only")
def test_blocks_go_with_the_last_of_their_rows() -> None:
    place = Aside()
    place.keep(np.zeros((1, 8), np.float32))
    before = anonymous()
    kept = [place.keep(np.ones((1, 1 << 18), np.float32)) for _ in range(64)]  # 1 MiB each
    assert anonymous() - before > 50 << 20
    del kept
    gc.collect()
    assert anonymous() - before < 20 << 20
