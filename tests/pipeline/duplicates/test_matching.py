import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.duplicates.matching import MAX_ERRORS, NEIGHBOURS, NOTHING, Print, errors, same_sound


def drawn(seed: int, rows: int = 300) -> Print:
    rng = np.random.default_rng(seed)
    return Print(rng.integers(0, 2**32, rows, dtype=np.uint32), np.ones(rows, np.bool_))


def damaged(original: Print, share: float, seed: int = 0) -> Print:
    """Turn over a share of the bits."""
    rng = np.random.default_rng(seed)
    turned: NDArray[np.uint32] = (
        ((rng.random((len(original.rows), 32)) < share) << np.arange(32, dtype=np.uint64))
        .sum(axis=1)
        .astype(np.uint32)
    )
    return Print(original.rows ^ turned, original.loud)


def test_copies_are_found_and_nothing_else() -> None:
    prints = [drawn(i) for i in range(50)]
    prints[40] = damaged(prints[3], 0.08)
    found = same_sound(prints)
    assert list(found) == [(3, 40)]
    assert found[3, 40] == pytest.approx(0.92, abs=0.01)


def test_a_copy_with_too_many_errors_is_another_sound() -> None:
    original = drawn(1)
    beside = damaged(original, MAX_ERRORS + 0.05)
    rows = beside.rows.copy()
    rows[50:60] = original.rows[50:60]  # so that the index proposes it
    assert same_sound([original, Print(rows, beside.loud)]) == {}


def test_a_shifted_copy_and_a_piece_are_found() -> None:
    original = drawn(1)
    late = Print(np.concatenate([drawn(2, 40).rows, original.rows]), np.ones(340, np.bool_))
    piece = Print(original.rows[100:200], original.loud[100:200])
    assert same_sound([original, late, piece]) == {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 1.0}
    assert errors(original, piece, 100) == 0.0
    assert errors(piece, original, -100) == 0.0
    assert errors(original, piece, 101) > 0.4


def test_a_passage_in_common_is_not_the_same_sound() -> None:
    one, other = drawn(1), drawn(2)
    rows = other.rows.copy()
    rows[:200] = one.rows[:200]
    assert same_sound([one, Print(rows, other.loud)]) == {}


def test_an_end_that_is_the_beginning_of_another_is_not_the_same_sound() -> None:
    """Such as two pieces of one recording that overlap by a third."""
    long = drawn(1, 500)
    one, other = (Print(long.rows[part], long.loud[part]) for part in (slice(0, 300), slice(200, 500)))
    assert same_sound([one, other]) == {}
    assert errors(one, other, 200) == 1.0


def test_what_is_not_loud_counts_for_nothing() -> None:
    one, other = drawn(1), drawn(2)
    loud = np.zeros(300, np.bool_)
    loud[100:200] = True
    rows = other.rows.copy()
    rows[loud] = one.rows[loud]
    assert same_sound([Print(one.rows, loud), Print(rows, loud)]) == {(0, 1): 1.0}
    silent = Print(one.rows, np.zeros(300, np.bool_))
    assert same_sound([silent, silent, NOTHING, NOTHING]) == {}


def test_too_little_to_compare_matches_nothing() -> None:
    short = drawn(1, 63)
    assert not short.comparable
    assert same_sound([short, short]) == {}
    assert same_sound([drawn(1, 64), drawn(1, 64)]) == {(0, 1): 1.0}


def test_many_copies_hang_together_without_all_their_pairs() -> None:
    copies = 3 * NEIGHBOURS
    found = same_sound([drawn(1)] * copies)
    assert len(found) < copies * NEIGHBOURS
    reached = {0}
    for first, second in found:  # in order, so one pass joins all
        if first in reached:
            reached.add(second)
    assert reached == set(range(copies))
