from pathlib import Path
from typing import Any

import pytest
import torch
from frame_makers import noise
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.frames import batched
from fusion.sequences.self_attention_network import SelfAttentionNetwork
from pipeline.references import golden_fusions

WAYS = ["lt", "it", "ia"]


def parts(pairs: list[tuple[int, int]], seed: int = 0) -> list[Any]:
    sounds = [noise(a, 10, seed=seed + i) for i, (a, _) in enumerate(pairs)]
    pictures = [noise(v, 6, seed=seed + 100 + i) for i, (_, v) in enumerate(pairs)]
    return [batched(list(sounds), 10, 1), batched(list(pictures), 6, 1)]


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("way", WAYS)
def test_logits_of_sequences_of_any_length(way: Any, heads: int) -> None:
    network = SelfAttentionNetwork(10, 6, 8, way, heads).eval()
    assert network(parts([(156, 15), (40, 1)])).shape == (2, 8)


def test_weights_of_frames_sum_to_the_frames_of_the_other() -> None:
    torch.manual_seed(0)
    network = SelfAttentionNetwork(10, 6, 8, "ia", 4).eval()
    sound, picture = parts([(156, 15), (30, 4)])
    a, v = network.audio.stage1(sound), network.visual.stage1(picture)
    of_a, of_v = network.frame_weights(a, v)
    assert [w.sum().item() for w in of_v.split([15, 4])] == pytest.approx([150, 24], rel=1e-5)
    assert [w.sum().item() for w in of_a.split([150, 24])] == pytest.approx([15, 4], rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=2, max_size=4), st.sampled_from(WAYS)
)
def test_companions_do_not_change_a_clip(pairs: list[tuple[int, int]], way: Any) -> None:
    torch.manual_seed(0)
    network = SelfAttentionNetwork(10, 6, 3, way, 2).eval()
    sound, picture = parts(pairs)
    together = network([sound, picture])
    for i in range(len(pairs)):
        alone = network([part.of(torch.tensor([i])) for part in (sound, picture)])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_values_and_what_becomes_of_them_learn_nothing_where_only_weights_are_used() -> None:
    network = SelfAttentionNetwork(10, 6, 3, "ia")
    network(parts([(20, 3), (25, 4)])).sum().backward()
    assert network.audio_attends.out.weight.grad is None
    assert network.audio_attends.query.weight.grad is not None


@pytest.mark.realdata
def test_the_golden_vectors_come_out(real_data: Path) -> None:
    found = list(golden_fusions.figures(real_data / "golden/selfattention_fusion"))
    assert len(found) == 6
    assert [f"{f.name}: {f.ours}" for f in found if not f.passes] == []
