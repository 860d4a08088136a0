"""Networks side by side against torch's own LSTM, and against themselves alone."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classifiers.attentive_bilstm import AttentiveBiLSTM
from classifiers.bilstm import BiLSTMHead
from classifiers.stacked_lstm import Stack


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def networks(count: int, inputs: int = 5, classes: int = 3, hidden: int = 7) -> list[AttentiveBiLSTM]:
    torch.manual_seed(0)
    return [AttentiveBiLSTM(inputs, classes, hidden, 0.3).eval() for _ in range(count)]


def batches(sizes: tuple[int, ...]) -> list[list[Tensor]]:
    rng = np.random.default_rng(0)
    torch.manual_seed(1)
    return [[torch.randn(int(rng.integers(1, 13)), 5) for _ in range(n)] for n in sizes]


def plain(network: AttentiveBiLSTM, clips: list[Tensor]) -> Tensor:
    lengths = torch.tensor([len(c) for c in clips])
    return network(nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)[0]


@pytest.mark.parametrize("sizes", [(4, 3, 4), (1,), (2, 6)])
def test_values_and_gradients_are_those_of_torchs_lstm(sizes: tuple[int, ...]) -> None:
    apart, given = networks(len(sizes)), batches(sizes)
    stack = Stack(apart, 0.3)
    parameters = {n: p.clone().requires_grad_(True) for n, p in stack.parameters.items()}
    found = stack.logits(parameters, given)
    expected = [plain(network, clips) for network, clips in zip(apart, given, strict=True)]
    for m, logits in enumerate(expected):
        torch.testing.assert_close(found[m, : len(logits)], logits, atol=1e-6, rtol=1e-5)
    torch.stack([(found[m, : len(e)] ** 2).sum() for m, e in enumerate(expected)]).sum().backward()
    torch.stack([(e**2).sum() for e in expected]).sum().backward()
    for m, network in enumerate(apart):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            gradient = parameters[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[m], parameter.grad, atol=1e-5, rtol=1e-4)


def test_a_step_is_torchs_adam_behind_clipped_gradients() -> None:
    """Without dropout: class-weighted cross-entropy, L2 norm of 1, Adam; three times."""
    apart, given = networks(2), batches((6, 6))
    stack = Stack(apart, 0.0)
    y = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 2, 1, 0, 0, 1]])
    weight = torch.tensor([[1.0, 2.0, 30.0], [5.0, 1.0, 1.0]])
    optimisers = [torch.optim.Adam(n.parameters(), lr=0.01) for n in apart]
    for _ in range(3):
        stack.step(given, y, weight, [torch.Generator()] * 2, 0.01)
        for m, (network, optimiser) in enumerate(zip(apart, optimisers, strict=True)):
            optimiser.zero_grad()
            nn.functional.cross_entropy(plain(network, given[m]), y[m], weight=weight[m]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
    for m, network in enumerate(apart):
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(stack.parameters[name][m], parameter, atol=2e-4, rtol=1e-3)


def test_dropout_drops_its_share_and_keeps_the_scale() -> None:
    stack = Stack(networks(1), 0.3)
    clips = batches((5,))
    calm = stack.logits(stack.parameters, clips)
    dice = [torch.Generator().manual_seed(3)]
    drawn = torch.stack([stack.logits(stack.parameters, clips, dice) for _ in range(400)])
    assert (drawn.std(dim=0) > 0).all()
    torch.testing.assert_close(drawn.mean(dim=0), calm, atol=0.05, rtol=0.2)


def bursts(n: int = 60) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.array(["loud" if i % 2 else "quiet" for i in range(n)])
    clips = [
        rng.normal(size=(int(rng.integers(3, 15)), 4)).astype(np.float32) * (2 if c == "loud" else 1)
        for c in y
    ]
    return clips, y, np.array([f"s{i % 10}" for i in range(n)])


def test_companions_do_not_change_a_network() -> None:
    """Other clips, other numbers of steps, others that stop before: nearly the bits that come alone."""
    X, y, groups = bursts()
    rows = [np.arange(60), np.arange(30), np.arange(20, 60)]
    together = [BiLSTMHead(hidden=5, batch=8, max_epochs=12, patience=3, seed=s) for s in range(3)]
    BiLSTMHead.fit_many(together, X, y, rows, groups.tolist())
    for head, own, seed in zip(together, rows, range(3), strict=True):
        alone = BiLSTMHead(hidden=5, batch=8, max_epochs=12, patience=3, seed=seed)
        alone.fit([X[i] for i in own], y[own], groups[own].tolist())
        assert alone.epochs_ == head.epochs_
        assert alone.held_out_ == head.held_out_
        np.testing.assert_allclose(alone.predict_proba(X), head.predict_proba(X), atol=1e-4)
