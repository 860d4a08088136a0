"""The network of the branched heads: a clip ends where it ends."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from classifiers.branches import BranchedNetwork, ConvBranch, DenseBranch, Part


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def branch(channels: Sequence[int] = (4, 5, 6)) -> ConvBranch:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = ConvBranch(channels, 7).eval()
        for convolution in made.convolutions:
            nn.init.uniform_(convolution.bias, 0.2, 1.0)  # type: ignore[arg-type]  # zeros in give more than 0
    return made


def random_clips(lengths: Sequence[int], bands: int = 9) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    return [torch.randn(t, bands, generator=generator) for t in lengths]


def padded(clips: Sequence[Tensor], extra: int = 0, filler: float = 0.0) -> Part:
    lengths = torch.tensor([len(c) for c in clips])
    x = torch.full((len(clips), int(lengths.max()) + extra, clips[0].shape[1]), filler)
    for i, clip in enumerate(clips):
        x[i, : len(clip)] = clip
    return Part(x, lengths)


def alone(network: ConvBranch, clip: Tensor) -> Tensor:
    """Return what a clip gives by the layers that a textbook has, with no mask anywhere."""
    x = clip[None, None]
    for convolution in network.convolutions:
        x = convolution(x).relu()
        x = functional.max_pool2d(x, (min(2, x.shape[2]), min(2, x.shape[3])))
    pooled: Tensor = network.layers(x.flatten(2).amax(dim=2))
    return pooled


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(LENGTHS, st.integers(0, 20), st.sampled_from([0.0, 1.0, -1e6, 1e30, float("nan"), float("inf")]))
@settings(max_examples=40, deadline=None)
def test_padding_changes_nothing_whatever_it_holds(lengths: list[int], extra: int, filler: float) -> None:
    network, clips = branch(), random_clips(lengths)
    with torch.no_grad():
        found = network(padded(clips, extra, filler))
        expected = torch.cat([alone(network, c) for c in clips])
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("length", range(1, 19))
def test_every_length_is_exact_beside_a_much_longer_clip(length: int) -> None:
    network, clips = branch(), random_clips([length, 100])
    with torch.no_grad():
        found, by_itself = network(padded(clips))[:1], network(padded(clips[:1]))
        torch.testing.assert_close(found, by_itself, rtol=0, atol=1e-6)
        torch.testing.assert_close(found, alone(network, clips[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bands", [1, 2, 3, 9])
def test_one_frame_and_few_bands_keep_one_position(bands: int) -> None:
    network = branch()
    with torch.no_grad():
        found = network(padded(random_clips([1], bands)))
    assert found.shape == (1, 7)
    assert torch.isfinite(found).all()


def test_the_last_frames_count() -> None:
    """A clip that was cut shorter than it is would pass for itself whatever stands at its end."""
    network, (clip,) = branch(), random_clips([16])
    louder = clip.clone()
    louder[-1] += 10
    with torch.no_grad():
        assert (network(padded([clip])) - network(padded([louder]))).abs().max() > 1e-3


def test_frames_without_lengths_are_a_bug() -> None:
    with pytest.raises(ValueError, match="lengths"):
        branch()(Part(torch.zeros(1, 8, 9)))


def kinds(module: nn.Module) -> list[str]:
    return [type(m).__name__ for m in module.modules() if not list(m.children())]


def test_the_dense_branch_has_relu_and_dropout_after_each_layer() -> None:
    made = DenseBranch(10, (8, 6), 0.5)
    assert kinds(made) == ["Linear", "ReLU", "Dropout"] * 2
    assert {m.p for m in made.modules() if isinstance(m, nn.Dropout)} == {0.5}
    assert made(Part(torch.zeros(3, 10))).shape == (3, 6)


def test_branches_stand_side_by_side_in_their_order() -> None:
    network = BranchedNetwork([DenseBranch(5, (4,), 0.0), branch()], [6], 3).eval()
    vectors, frames = Part(torch.randn(2, 5)), padded(random_clips([9, 12]))
    rows = torch.cat([network.branches[0](vectors), network.branches[1](frames)], dim=1)
    assert rows.shape == (2, 4 + 7)
    torch.testing.assert_close(network([vectors, frames]), network.out(network.joined(rows)))


def test_an_input_without_a_branch_is_a_bug() -> None:
    with pytest.raises(ValueError, match="longer"):
        BranchedNetwork([DenseBranch(5, (4,), 0.0)], [], 3)([Part(torch.zeros(2, 5))] * 2)
