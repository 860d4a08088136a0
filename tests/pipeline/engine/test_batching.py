from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import Noisy, Stand

from extractors.contract import BadFeaturesError, FloatArray, LimitExceededError, Window
from pipeline.engine.batching import Batcher


def windows(*numbers: float) -> list[Window]:
    return [Window(np.array([n, 0, 0, 0], np.float32), n, n + 1) for n in numbers]


def through(batcher: Batcher, *numbers: float) -> list[tuple[Any, Any]]:
    """Return the tags and rows of windows that go through a batcher."""
    out = []
    for window in windows(*numbers):
        out += list(batcher.add(f"w{window.start:g}", window))
    out += list(batcher.flush())
    return [(tag, rows if isinstance(rows, Exception) else float(rows[0, 0])) for tag, _, rows in out]


def test_windows_wait_until_there_are_enough_and_nothing_is_left_behind() -> None:
    extractor = Stand(look_ahead=4)
    assert through(Batcher(extractor, probe=False), *range(10)) == [(f"w{i}", i) for i in range(10)]
    assert [len(b) for b in extractor.embedded] == [4, 4, 2]
    assert list(Batcher(extractor, probe=False).flush()) == []


def test_embedded_windows_keep_their_times_and_drop_their_data() -> None:
    batcher = Batcher(Stand(), probe=False)
    ((tag, window, _),) = batcher.add("c", windows(7)[0])
    assert (tag, window.start, window.end, window.data.size) == ("c", 7, 8, 0)


def test_rows_go_back_to_their_windows_whatever_order_the_extractor_batches_in() -> None:
    class Sorting(Stand):
        def batches(self, windows: Sequence[Window]) -> Any:
            order = sorted(range(len(windows)), key=lambda i: -windows[i].data[0])
            return iter([order[:2], order[2:]])

    done = through(Batcher(Sorting(look_ahead=5), probe=False), 3, 1, 4, 0, 2)
    assert sorted(done) == [(f"w{i}", i) for i in range(5)]


class Small(Stand):
    """Has memory for so many windows at once."""

    room = 3

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        if len(windows) > self.room or any(w.data[0] < 0 for w in windows):
            raise torch.OutOfMemoryError("no memory")
        return super().embed(windows)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    extractor = Small(look_ahead=8)
    assert through(Batcher(extractor, probe=False), *range(8)) == [(f"w{i}", i) for i in range(8)]
    assert [len(b) for b in extractor.embedded] == [2, 2, 2, 2]


def test_a_window_that_does_not_fit_alone_fails_alone() -> None:
    done = through(Batcher(Small(look_ahead=4), probe=True), 0, -1, 2, 3)
    assert [(tag, row) for tag, row in done if tag != "w-1"] == [("w0", 0), ("w2", 2), ("w3", 3)]
    (error,) = [row for tag, row in done if tag == "w-1"]
    assert isinstance(error, LimitExceededError)
    assert "does not fit into the memory of the GPU" in str(error)


def test_the_first_batch_is_embedded_twice_and_must_be_the_same() -> None:
    with pytest.raises(BadFeaturesError, match="two runs over the same windows gave different values"):
        through(Batcher(Noisy(), probe=True), 0)
    through(Batcher(Noisy(), probe=False), 0)
    extractor = Stand(look_ahead=2)
    through(Batcher(extractor, probe=True), 0, 1, 2, 3)
    assert [len(b) for b in extractor.embedded] == [2, 2, 2]


class Drifting(Stand):
    """Gives something else the second time.

    Args:
        share: By how much it differs.
        rows: How many rows it gives the second time.
    """

    def __init__(self, share: float = 0.0, rows: int = 1, value: float = 1000.0) -> None:
        super().__init__()
        self.share, self.rows, self.value = share, rows, value

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        self.embedded.append([])
        again = len(self.embedded) > 1
        rows = self.rows if again else 1
        return [np.full((rows, 2), self.value * (1 + again * self.share), np.float32) for _ in windows]


@pytest.mark.parametrize(("share", "fine"), [(0.0, True), (5e-4, True), (2e-3, False), (-1.0, False)])
def test_a_network_may_differ_in_its_last_bits_only(share: float, fine: bool) -> None:
    if fine:
        assert through(Batcher(Drifting(share), probe=True), 0)
    else:
        with pytest.raises(BadFeaturesError):
            through(Batcher(Drifting(share), probe=True), 0)


def test_another_number_of_rows_is_a_difference_and_zeros_are_none() -> None:
    with pytest.raises(BadFeaturesError):
        through(Batcher(Drifting(rows=2), probe=True), 0)
    assert through(Batcher(Drifting(value=0.0), probe=True), 0) == [("w0", 0)]


def test_a_window_without_rows_is_no_defect_of_the_comparison() -> None:
    class Nothing(Stand):
        def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
            return [np.empty((0, 2), np.float32) for _ in windows]

    ((_, _, rows),) = Batcher(Nothing(), probe=True).add("c", windows(0)[0])
    assert not isinstance(rows, Exception)
    assert rows.shape == (0, 2)


def test_rows_are_kept_outside_of_the_memory_that_networks_work_in() -> None:
    batcher = Batcher(Stand(), probe=False)
    kept = [rows for window in windows(*range(5)) for _, _, rows in batcher.add("c", window)]
    places = [rows.__array_interface__["data"][0] for rows in kept]
    assert np.all(np.diff(places) == 64)
    assert [float(rows[0, 0]) for rows in kept] == [0, 1, 2, 3, 4]
