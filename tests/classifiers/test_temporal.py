import numpy as np
import pytest
import torch
from frame_makers import frames, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from classifiers.frames import FrameBatch, batched
from classifiers.temporal import (
    ConvBlock,
    RowConvolution,
    RowNorm,
    TemporalClassifier,
    audio_stages,
    mean_over_time,
    visual_stages,
)
from classifiers.windows_of_rows import rectified_maxima, windows


def of(*lengths: int, width: int = 3) -> FrameBatch:
    return batched([noise(t, width, seed=i) for i, t in enumerate(lengths)], width, 1)


@pytest.mark.parametrize("shrinks", [True, False])
def test_a_block_is_what_plain_layers_make_of_each_clip_alone(shrinks: bool) -> None:
    torch.manual_seed(0)
    block = ConvBlock(3, 5, shrinks).eval()
    batch = of(4, 9, 6)
    found = block(batch)
    plain = nn.Conv1d(3, 5, 3, padding=0 if shrinks else 1)
    plain.load_state_dict(block.convolution.state_dict())
    norm = nn.BatchNorm1d(5).eval()
    expected = []
    for clip in batch.rows.split([4, 9, 6]):
        x = norm(plain(clip.T[None])).relu()
        expected.append((nn.functional.max_pool1d(x, 2, stride=1) if shrinks else x)[0].T)
    torch.testing.assert_close(found.rows, torch.cat(expected))
    assert found.lengths.tolist() == ([1, 6, 3] if shrinks else [4, 9, 6])


def test_gradients_are_those_of_plain_layers() -> None:
    """The batch is one clip, which plain layers take whole; statistics are of the batch, as in training."""
    torch.manual_seed(0)
    block = ConvBlock(3, 5, shrinks=True)
    batch = of(11)
    rows = batch.rows.clone().requires_grad_()
    weigh = torch.randn(8, 5)
    (block(batch._replace(rows=rows)).rows * weigh).sum().backward()
    plain, norm = nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5)
    plain.load_state_dict(block.convolution.state_dict())
    x = batch.rows.clone().requires_grad_()
    out = nn.functional.max_pool1d(norm(plain(x.T[None])).relu(), 2, stride=1)[0].T
    (out * weigh).sum().backward()
    torch.testing.assert_close(rows.grad, x.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(block.convolution.weight.grad, plain.weight.grad, atol=1e-5, rtol=1e-4)


def test_written_gradients_agree_with_differences() -> None:
    torch.manual_seed(0)
    rows = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    starts = torch.tensor([0, 1, 2, 5, 6])
    assert torch.autograd.gradcheck(lambda x: windows(x, starts, 3), (rows,))
    assert torch.autograd.gradcheck(lambda x: rectified_maxima(x, starts), (rows,))


def test_statistics_in_training_are_of_valid_rows_alone() -> None:
    norm = RowNorm(2)
    valid = np.array([True, False, True, True])
    clip = frames(np.array([[1.0, 5.0], [900.0, -900.0], [2.0, 6.0], [6.0, 1.0]]), valid)
    found = norm(batched([clip], 2, 1)).rows
    expected = nn.BatchNorm1d(2)(torch.from_numpy(clip.values[valid]))
    torch.testing.assert_close(found[torch.from_numpy(valid)], expected)
    assert not found[1].any()


@pytest.mark.parametrize("shrinks", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_row_that_is_not_valid_is_nothing_to_its_neighbours(shrinks: bool, training: bool) -> None:
    torch.manual_seed(0)
    block = ConvBlock(3, 5, shrinks).train(training)
    torch.nn.init.constant_(block.normalise.bias, 2.0)  # zeros are more than nothing after it
    valid = np.array([True] * 6 + [False] * 6)
    whole = batched([frames(noise(12, 3).values, valid)], 3, 1)
    batch = whole._replace(rows=whole.rows * whole.valid[:, None])
    normal = block.normalise(block.convolution(batch))
    assert not normal.rows[~normal.valid].any()
    found = block(batch)
    assert found.rows[found.valid].any()
    assert not found.rows[~found.valid].any()


def test_one_row_alone_is_normalised_by_what_is_known() -> None:
    norm = RowNorm(3)
    found = norm(of(1)).rows  # nn.BatchNorm1d refuses it
    torch.testing.assert_close(found, norm.eval()(of(1)).rows)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=4), st.sampled_from(["audio", "visual"]))
def test_companions_do_not_change_a_clip(lengths: list[int], kind: str) -> None:
    torch.manual_seed(0)
    stages = {"audio": audio_stages, "visual": visual_stages}[kind](3)
    network = TemporalClassifier(stages, 4).eval()
    clips = [noise(t, 3, seed=i) for i, t in enumerate(lengths)]
    together = network([batched(list(clips), 3, 1)])
    alone = torch.cat([network([batched([clip], 3, 1)]) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_voice_loses_three_rows_a_block_and_the_face_none() -> None:
    batch = of(156, width=10)
    stages = audio_stages(10)
    middle = stages.stage1(batch)
    assert middle.rows.shape == (150, 128)
    assert stages.stage2(middle).rows.shape == (144, 128)
    face = visual_stages(10)
    assert face.stage1(batch).rows.shape == (156, 64)
    assert face.stage2(face.stage1(batch)).rows.shape == (156, 128)


def test_a_clip_that_is_too_short_ends_in_zeros() -> None:
    stages = audio_stages(2)
    short, long = noise(4, 2), noise(15, 2, seed=1)
    found = stages.enough(batched([short, long], 2, 1))
    assert found.lengths.tolist() == [13, 15]
    np.testing.assert_array_equal(found.rows[:13], np.vstack([short.values, np.zeros((9, 2))]))
    np.testing.assert_array_equal(found.rows[13:], long.values)
    assert found.valid.all()


def test_rows_that_are_not_valid_do_not_count() -> None:
    valid = np.array([True, False, True])
    clip = frames(np.array([[2.0], [100.0], [4.0]]), valid)
    assert mean_over_time(batched([clip], 1, 1)).tolist() == [[3.0]]
    nothing = frames(np.ones((2, 1)), np.zeros(2, np.bool_))
    assert mean_over_time(batched([nothing, clip], 1, 1)).tolist() == [[0.0], [3.0]]


def test_parameters_are_those_of_a_plain_convolution() -> None:
    assert {n: p.shape for n, p in RowConvolution(3, 5, True).named_parameters()} == {
        "weight": (5, 3, 3),
        "bias": (5,),
    }
