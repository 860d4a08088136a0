"""The attentive BiLSTM (SYSTEMS 2.6 and acceptance test 11.7)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from classifiers import HeadError
from classifiers.attentive_bilstm import AttentiveBiLSTM
from classifiers.bilstm import BiLSTMHead
from classifiers.stacked_lstm import Stack, Task, train

Data = tuple[list[NDArray[np.float32]], NDArray[np.str_], NDArray[np.str_]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(inputs: int = 3, classes: int = 4, hidden: int = 5) -> AttentiveBiLSTM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AttentiveBiLSTM(inputs, classes, hidden, dropout=0.3).eval()


def padded(clips: Sequence[Tensor], extra: int = 0, filler: float = 0.0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(c) for c in clips])
    x = torch.full((len(clips), int(lengths.max()) + extra, clips[0].shape[1]), filler)
    for i, clip in enumerate(clips):
        x[i, : len(clip)] = clip
    return x, lengths


def random_clips(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t, 3, generator=generator) for t in lengths]


def bursts(seed: int = 0, subjects: int = 10, clips: int = 6) -> Data:
    """Return noise in which a burst stands somewhere; its sign is the class."""
    rng = np.random.default_rng(seed)
    y = np.tile(["down", "up"], subjects * clips // 2)
    X = []
    for label in y:
        x = rng.normal(size=(int(rng.integers(4, 10)), 3)) * 0.3
        at = rng.integers(0, len(x) - 2)
        x[at : at + 2, 0] += 3 if label == "up" else -3
        X.append(x.astype(np.float32))
    return X, y, np.repeat([f"s{i}" for i in range(subjects)], clips)


def small(**options: Any) -> BiLSTMHead:
    return BiLSTMHead(**{"hidden": 8, "max_epochs": 3, "batch": 16, **options})


LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(LENGTHS, st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_attention_sums_to_one_on_real_frames_and_is_zero_on_padding(lengths: list[int], seed: int) -> None:
    with torch.no_grad():
        _, weights = network()(*padded(random_clips(lengths, seed), extra=2))
    assert weights.shape == (len(lengths), max(lengths))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(lengths)))
    for row, length in zip(weights, lengths, strict=True):
        assert (row[length:] == 0).all()
        assert (row[:length] > 0).all()


@given(LENGTHS, st.integers(0, 20), st.sampled_from([0.0, 1.0, -1e6, 1e30, np.nan, np.inf]))
@settings(max_examples=30, deadline=None)
def test_padding_does_not_change_logits_whatever_it_holds(
    lengths: list[int], extra: int, filler: float
) -> None:
    clips = random_clips(lengths)
    with torch.no_grad():
        plain, _ = network()(*padded(clips))
        more, _ = network()(*padded(clips, extra, filler))
    torch.testing.assert_close(more, plain, rtol=0, atol=1e-6)


@given(LENGTHS)
@settings(max_examples=30, deadline=None)
def test_batch_mates_do_not_change_logits(lengths: list[int]) -> None:
    clips = random_clips(lengths)
    with torch.no_grad():
        together, _ = network()(*padded(clips))
        apart = torch.cat([network()(*padded([c]))[0] for c in clips])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6)


def test_a_clip_of_one_frame_has_all_the_attention_on_it() -> None:
    with torch.no_grad():
        logits, weights = network()(*padded(random_clips([1])))
    assert weights.tolist() == [[1.0]]
    assert torch.isfinite(logits).all()


def test_the_attention_is_the_masked_softmax_of_the_scores() -> None:
    """Softmax over the padded axis, times the mask, renormalised (the reference's way) is the same."""
    model, clips = network(), random_clips([3, 7, 5])
    x, lengths = padded(clips)
    with torch.no_grad():
        logits, weights = model(x, lengths)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(model.lstm(packed)[0], batch_first=True)
        mask = (torch.arange(7) < lengths[:, None]).float()
        masked = model.attention(states).squeeze(-1).softmax(dim=1) * mask
        expected = masked / masked.sum(dim=1, keepdim=True)
        torch.testing.assert_close(weights, expected)
        torch.testing.assert_close(logits, model.out(torch.einsum("nt,ntd->nd", expected, states)))


def test_the_network_has_the_shape_of_the_paper() -> None:
    """SYSTEMS 2.6: 35 AUs, 2 x BiLSTM(50) -> 100, attention 100 -> 100 -> 1, 8 logits."""
    head = BiLSTMHead()
    model = AttentiveBiLSTM(35, 8, head.hidden, head.dropout)
    lstm = model.lstm
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers) == (35, 50, 2)
    assert lstm.bidirectional
    assert lstm.dropout == 0.3
    kinds = [type(layer) for layer in model.attention]
    assert kinds == [nn.Linear, nn.Tanh, nn.Dropout, nn.Linear, nn.Tanh, nn.Dropout]
    linear = [layer for layer in model.attention if isinstance(layer, nn.Linear)]
    assert [(x.in_features, x.out_features) for x in linear] == [(100, 100), (100, 1)]
    assert {layer.p for layer in model.attention if isinstance(layer, nn.Dropout)} == {0.3}
    assert (model.out.in_features, model.out.out_features) == (100, 8)
    logits, weights = model(torch.zeros(2, 6, 35), torch.tensor([6, 4]))
    assert logits.shape == (2, 8)
    assert weights.shape == (2, 6)


def test_training_settings_are_those_of_the_paper() -> None:
    head = BiLSTMHead()
    found = (head.lr, head.batch, head.max_epochs, head.patience, head.scale)
    assert found == (1e-3, 64, 300, 30, "none")


def test_it_learns_a_sequence_problem_on_new_subjects() -> None:
    head = small(max_epochs=15, lr=1e-2).fit(*bursts())
    X, y, _ = bursts(seed=1)
    assert np.mean(head.predict(X) == y) > 0.85


@pytest.mark.parametrize("seed", range(3))
def test_the_subjects_that_stop_it_are_not_those_it_fits(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, groups = bursts()
    seen: list[Task] = []

    def spy(modules: Any, tasks: list[Task], score: Any, **options: Any) -> Any:
        seen.extend(tasks)
        return train(modules, tasks, score, **options)

    monkeypatch.setattr("classifiers.stacked_lstm.train", spy)
    head = BiLSTMHead(hidden=4, max_epochs=1, seed=seed).fit(X, y, groups)
    fit, held = seen[0].fit, seen[0].held
    assert set(groups[held]) == set(head.held_out_)
    assert not set(groups[fit]) & set(head.held_out_)
    assert sorted([*fit, *held]) == list(range(len(y)))
    assert len(head.held_out_) == 2  # one in five of ten


def test_held_out_clips_never_reach_the_weights_or_the_scaler() -> None:
    X, y, groups = bursts()
    first = small(max_epochs=1, scale="standard").fit(X, y, groups)
    changed = [x + 100 if g in first.held_out_ else x for x, g in zip(X, groups, strict=True)]
    second = small(max_epochs=1, scale="standard").fit(changed, y, groups)
    assert second.held_out_ == first.held_out_
    for a, b in zip(first.network_.parameters(), second.network_.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    np.testing.assert_array_equal(first.scaler_.mean_, second.scaler_.mean_)  # type: ignore[union-attr]


def scores(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    told = iter(values)
    monkeypatch.setattr("sklearn.metrics.f1_score", lambda *_, average: next(told))


def test_it_stops_after_so_many_epochs_without_a_better_score(monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, [0.1, 0.5, 0.5, 0.2])  # a fifth epoch would exhaust them
    assert small(max_epochs=50, patience=2).fit(*bursts()).epochs_ == 2


def test_the_weights_of_the_best_epoch_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, [0.1, 0.9, 0.2, 0.3])
    best = small(max_epochs=4).fit(*bursts())
    scores(monkeypatch, [0.1, 0.9])
    stopped = small(max_epochs=2).fit(*bursts())
    for a, b in zip(best.network_.parameters(), stopped.network_.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_rare_classes_weigh_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balanced weights: n / (K * count), of the clips that are fitted."""
    given: list[Tensor] = []
    step = Stack.step

    def spy(self: Stack, batches: Any, y: Tensor, weight: Tensor, dice: Any, lr: float) -> None:
        given.append(weight)
        step(self, batches, y, weight, dice, lr)

    monkeypatch.setattr(Stack, "step", spy)
    X, _, groups = bursts()
    y = np.array(["rare" if i % 6 == 0 else "usual" for i in range(len(X))])
    small(max_epochs=1).fit(X, y, groups)
    torch.testing.assert_close(given[0], torch.tensor([[6 / 2, 6 / (2 * 5)]]))


def test_clips_of_one_frame_work() -> None:
    X, y, groups = bursts()
    short = [x[:1] for x in X]
    p = small().fit(short, y, groups).predict_proba(short)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)


def test_more_clips_than_a_batch_come_back_in_their_order() -> None:
    X, y, groups = bursts()
    head = small(batch=7).fit(X, y, groups)
    apart = np.concatenate([head.predict_proba([x]) for x in X[:20]])
    np.testing.assert_allclose(head.predict_proba(X[:20]), apart, rtol=0, atol=1e-6)


def test_no_clips_give_no_posteriors() -> None:
    assert small(max_epochs=1).fit(*bursts()).predict_proba([]).shape == (0, 2)


def test_seeds_reproduce_and_differ() -> None:
    X, y, groups = bursts()
    one, again, other = (small(seed=s).fit(X, y, groups).predict_proba(X) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-6


def test_torchs_global_generator_is_neither_read_nor_moved() -> None:
    X, y, groups = bursts()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = small().fit(X, y, groups).predict_proba(X)
        torch.testing.assert_close(torch.get_rng_state(), before)
        torch.manual_seed(2)
        np.testing.assert_array_equal(small().fit(X, y, groups).predict_proba(X), first)


def test_predicting_twice_gives_the_same_although_it_trained_with_dropout() -> None:
    X, y, groups = bursts()
    head = small(max_epochs=1).fit(X, y, groups)
    np.testing.assert_array_equal(head.predict_proba(X), head.predict_proba(X))


def test_no_epochs_are_refused() -> None:
    with pytest.raises(HeadError, match=r"max_epochs is 0, hidden 8; expected 1 or more"):
        small(max_epochs=0).fit(*bursts())


def test_a_loaded_head_remembers_who_stopped_it(tmp_path: Any) -> None:
    head = small().fit(*bursts())
    head.save(tmp_path)
    loaded = BiLSTMHead.load(tmp_path)
    assert (loaded.held_out_, loaded.epochs_) == (head.held_out_, head.epochs_)


def test_weights_of_another_shape_are_refused(tmp_path: Any) -> None:
    small().fit(*bursts()).save(tmp_path / "eight")
    small(hidden=4).fit(*bursts()).save(tmp_path / "four")
    (tmp_path / "four" / "head.safetensors").replace(tmp_path / "eight" / "head.safetensors")
    with pytest.raises(HeadError, match="size mismatch"):
        BiLSTMHead.load(tmp_path / "eight")
