import numpy as np
import pytest
import torch
from frame_makers import frames, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from classifiers import Frames, HeadError
from classifiers.frames import batched, check_frames, scaled_frames

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)
law = settings(max_examples=30, deadline=None)  # the first example loads PyTorch


def test_a_batch_holds_the_rows_of_its_clips_and_nothing_else() -> None:
    one, two = noise(3, 2), noise(2, 2, seed=1)
    batch = batched([one, None, two], 2, stand_in=4)
    assert batch.lengths.tolist() == [3, 4, 2]
    np.testing.assert_array_equal(batch.rows, np.concatenate([one.values, np.zeros((4, 2)), two.values]))
    assert batch.owners.tolist() == [0] * 3 + [1] * 4 + [2] * 2
    assert batch.valid.all()


@law
@given(LENGTHS)
def test_padded_rows_are_found_again(lengths: list[int]) -> None:
    clips = [noise(t, 3, seed=i) for i, t in enumerate(lengths)]
    batch = batched(list(clips), 3, 1)
    values, valid, places = batch.padded()
    assert values.shape == (len(lengths), max(lengths), 3)
    torch.testing.assert_close(values.flatten(0, 1)[places], batch.rows)
    assert valid.sum(dim=1).tolist() == lengths
    assert float(values.abs().sum()) == pytest.approx(float(batch.rows.abs().sum()), rel=1e-5)


@law
@given(LENGTHS, st.integers(0, 2**32 - 1))
def test_chosen_clips_are_those_clips(lengths: list[int], seed: int) -> None:
    clips = [noise(t, 3, seed=i) for i, t in enumerate(lengths)]
    order = np.random.default_rng(seed).permutation(len(clips))
    chosen = batched(list(clips), 3, 1).of(torch.from_numpy(order))
    wanted = batched([clips[i] for i in order], 3, 1)
    for found, expected in zip(chosen, wanted, strict=True):
        torch.testing.assert_close(found, expected)


def test_rows_that_are_not_valid_are_zeros_whatever_they_hold() -> None:
    valid = np.array([True, False, True])
    clip = frames(np.array([[1.0], [np.nan], [3.0]]), valid)
    scaler = StandardScaler().fit(np.array([[1.0], [3.0]]))
    np.testing.assert_array_equal(scaled_frames(scaler, clip).values, [[-1], [0], [1]])
    np.testing.assert_array_equal(scaled_frames(None, clip).values, [[1], [0], [3]])


def test_a_valid_row_that_is_no_number_is_refused() -> None:
    clip = frames(np.array([[1.0], [np.nan]]))
    with pytest.raises(HeadError, match="clip 3 has features that are NaN"):
        check_frames(clip, 1, "clip 3")
    check_frames(clip._replace(valid=np.array([True, False])), 1, "clip 3")


def test_times_that_go_back_and_marks_that_do_not_fit_are_refused() -> None:
    clip = noise(3, 2)
    with pytest.raises(HeadError, match="times that go back"):
        check_frames(clip._replace(times=clip.times[::-1]), 2, "x")
    with pytest.raises(HeadError, match="3 rows, 3 times and 2 valid marks"):
        check_frames(Frames(clip.values, clip.times, clip.valid[:2]), 2, "x")
    with pytest.raises(HeadError, match=r"shape \[3, 2\]; expected \[T, 4\]"):
        check_frames(clip, 4, "x")
