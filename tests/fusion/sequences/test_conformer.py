import math

import numpy as np
import pytest
import torch
from frame_makers import frames, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.frames import batched
from fusion.sequences.conformer import ConformerLayer, RelativeAttention, distances
from fusion.sequences.quick_dropout import QuickDropout


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=4))
def test_companions_do_not_change_a_clip(lengths: list[int]) -> None:
    torch.manual_seed(0)
    layer = ConformerLayer(8, 2, 5, 0.1).eval()
    clips = [noise(t, 8, seed=i) for i, t in enumerate(lengths)]
    together = layer(batched(list(clips), 8, 1)).rows.split(lengths)
    for clip, found in zip(clips, together, strict=True):
        torch.testing.assert_close(found, layer(batched([clip], 8, 1)).rows, atol=1e-5, rtol=1e-4)


def test_rows_that_are_not_valid_change_no_other() -> None:
    torch.manual_seed(0)
    layer = ConformerLayer(8, 2, 3, 0.1)
    values = np.random.default_rng(0).normal(size=(6, 8))
    valid = np.array([True, True, False, True, True, True])
    batch = batched([frames(values, valid)], 8, 1)
    other = batch._replace(rows=torch.where(batch.valid[:, None], batch.rows, torch.tensor(50.0)))
    for mode in (True, False):
        layer.train(mode)
        torch.manual_seed(1)
        first = layer(batch).rows[batch.valid]
        torch.manual_seed(1)
        torch.testing.assert_close(layer(other).rows[batch.valid], first)


def test_attention_by_distance_is_what_a_loop_makes_of_it() -> None:
    torch.manual_seed(0)
    T, width, heads = 5, 8, 2
    attention = RelativeAttention(width, heads, 0.0).eval()
    torch.nn.init.normal_(attention.content_bias)
    torch.nn.init.normal_(attention.position_bias)
    batch = batched([noise(T, width)], width, 1)
    q, k, v = attention.query_key_value(attention.normalise(batch.rows)).chunk(3, dim=-1)
    d = width // heads
    # Of distance i - j stands the row T - 1 - (i - j).
    far = attention.position(distances(T, torch.zeros(1, heads, T, d)))
    expected = torch.zeros(T, width)
    for h in range(heads):
        own = slice(h * d, (h + 1) * d)
        scores = torch.zeros(T, T)
        for i in range(T):
            for j in range(T):
                content = (q[i, own] + attention.content_bias[h, 0]) @ k[j, own]
                position = (q[i, own] + attention.position_bias[h, 0]) @ far[T - 1 - i + j, own]
                scores[i, j] = (content + position) / math.sqrt(d)
        expected[:, own] = scores.softmax(dim=1) @ v[:, own]
    torch.testing.assert_close(attention(batch), attention.out(expected), atol=1e-5, rtol=1e-4)


def test_distances_do_not_depend_on_the_length() -> None:
    long, short = (distances(t, torch.zeros(1, 2, t, 4)) for t in (9, 4))
    torch.testing.assert_close(long[5:12], short)
    torch.testing.assert_close(short[3], torch.tensor([0.0, 1.0] * 4))  # of no distance


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_quick_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    dropped = QuickDropout(p)(torch.ones(200, 501))
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.01)
    assert sorted({round(v, 3) for v in dropped.unique().tolist()}) == [0.0, round(1 / (1 - p), 3)]
    torch.manual_seed(0)
    torch.testing.assert_close(QuickDropout(p)(torch.ones(200, 501)), dropped)


def test_quick_dropout_leaves_values_alone_when_it_should() -> None:
    x = torch.randn(3, 5)
    torch.testing.assert_close(QuickDropout(0.3).eval()(x), x)
    torch.testing.assert_close(QuickDropout(0.0)(x), x)
    grown = x.clone().requires_grad_()
    torch.manual_seed(0)
    out = QuickDropout(0.5)(grown)
    out.sum().backward()
    assert grown.grad is not None
    torch.testing.assert_close(grown.grad, (out != 0).float() * 2)
