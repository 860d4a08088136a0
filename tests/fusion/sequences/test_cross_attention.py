import pytest
import torch

from fusion.sequences.attention import CrossAttention, CrossBlock


@pytest.mark.parametrize("heads", [1, 4])
def test_fused_attention_is_what_its_weights_say(heads: int) -> None:
    """The weights are the mean of the heads; with one head they are all there is."""
    torch.manual_seed(0)
    attention = CrossAttention(6, 8, heads).eval()
    keys, queries = torch.randn(2, 5, 6), torch.randn(2, 3, 8)
    valid = torch.tensor([[True] * 5, [True, True, False, True, False]])
    weights = attention.weights(keys, queries, valid)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 3))
    assert not weights[1][:, [2, 4]].any()
    if heads == 1:
        values = attention.key_value(keys).chunk(2, dim=-1)[1]
        torch.testing.assert_close(attention(keys, queries, valid), attention.out(weights @ values))


def test_what_may_not_be_attended_to_changes_nothing() -> None:
    torch.manual_seed(0)
    block = CrossBlock(6, 8, 2)
    keys, queries = torch.randn(1, 5, 6), torch.randn(1, 3, 8)
    valid = torch.tensor([[True, True, True, False, False]])
    other = keys.clone()
    other[:, 3:] = 100 * torch.randn(1, 2, 6)
    torch.testing.assert_close(block(keys, queries, valid), block(other, queries, valid))
    torch.testing.assert_close(block(keys, queries, valid), block(keys[:, :3], queries, valid[:, :3]))


def test_nothing_to_attend_to_is_no_nan() -> None:
    attention = CrossAttention(6, 8, 2)
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    assert attention(torch.zeros(1, 4, 6), torch.randn(1, 3, 8), nothing).isfinite().all()
    assert attention.weights(torch.zeros(1, 4, 6), torch.randn(1, 3, 8), nothing).isfinite().all()
