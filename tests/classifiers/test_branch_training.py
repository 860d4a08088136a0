"""How branched networks are trained and asked."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from branched_clips import clips_for, small
from numpy.typing import NDArray
from torch.nn import functional

from classifiers import HeadError, branch_training
from classifiers.branch_training import collate, posteriors, quality, seeded, shuffled, train
from classifiers.branches import BranchedNetwork, ConvBranch, DenseBranch


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def both(seed: int = 0) -> BranchedNetwork:
    with seeded(seed):
        return BranchedNetwork([DenseBranch(3, (16,), 0.5), ConvBranch((8, 8), 16)], [16], 2)


def random_clips(lengths: list[int]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=3).astype("f4"), rng.normal(size=(t, 5)).astype("f4")) for t in lengths]


def scores(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    told = iter(values)
    monkeypatch.setattr("classifiers.branch_training.quality", lambda *_: (next(told), 0.0))


def test_a_batch_has_a_part_per_array_and_frames_end_in_zeros() -> None:
    clips = random_clips([2, 4])
    vectors, frames = collate(clips)
    assert vectors.lengths is None
    np.testing.assert_array_equal(vectors.values.cpu(), np.stack([v for v, _ in clips]))
    assert frames.lengths is not None
    assert frames.lengths.tolist() == [2, 4]
    assert frames.values.shape == (2, 4, 5)
    np.testing.assert_array_equal(frames.values[0, :2].cpu(), clips[0][1])
    assert (frames.values[0, 2:] == 0).all()


@pytest.mark.parametrize("number", [1, 15, 16, 17, 300])
def test_an_epoch_shows_every_clip_once_in_batches_of_similar_length(number: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 500, number).tolist()
    batches = shuffled(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(number))
    assert max(len(b) for b in batches) <= 16
    if number == 300:
        padding = sum(max(lengths[i] for i in b) * len(b) for b in batches) / sum(lengths)
        chance = [np.random.default_rng(2).permutation(number)[i : i + 16] for i in range(0, number, 16)]
        assert padding < 1.2 < sum(max(lengths[i] for i in b) * len(b) for b in chance) / sum(lengths)


def test_epochs_differ_and_seeds_repeat_them() -> None:
    dice, again = np.random.default_rng(1), np.random.default_rng(1)
    first, second = (shuffled([1] * 40, 8, dice) for _ in range(2))
    assert {frozenset(b.tolist()) for b in first} != {frozenset(b.tolist()) for b in second}
    for batch, same in zip(first, shuffled([1] * 40, 8, again), strict=True):
        np.testing.assert_array_equal(batch, same)


def test_batches_of_short_clips_do_not_always_come_first() -> None:
    lengths = list(range(64))
    firsts = {min(shuffled(lengths, 16, np.random.default_rng(seed))[0]) for seed in range(8)}
    assert len(firsts) > 1


def test_quality_is_the_mean_recall_of_the_classes_and_not_of_the_clips() -> None:
    truth = np.array([0, 0, 0, 1])
    always = np.tile([0.9, 0.1], (4, 1))
    assert quality(truth, always)[0] == 0.5
    assert quality(truth[:3], always[:3])[0] == 1.0  # a class that is not there has no recall


def test_of_equal_recall_the_surer_posteriors_are_better_and_recall_goes_first() -> None:
    truth = np.array([0, 1])
    wrong, better = (np.array([[p, 1 - p], [p, 1 - p]]) for p in (0.9, 0.6))
    assert quality(truth, wrong) < quality(truth, better)
    barely = np.array([[0.51, 0.49], [0.49, 0.51]])
    sure_and_half_right = np.array([[1.0, 0.0], [0.5001, 0.4999]])
    assert quality(truth, sure_and_half_right) < quality(truth, barely)
    assert np.isfinite(quality(truth, np.array([[0.0, 1.0], [1.0, 0.0]]))).all()


def trained(epochs: int, patience: int = 50, **options: Any) -> tuple[BranchedNetwork, int]:
    network, clips = both(), random_clips([3, 9] * 6)
    settings = {"seed": 0, "lr": 1e-2, "batch": 4, "max_epochs": epochs, "patience": patience, **options}
    with seeded(0):
        kept = train(network, clips, np.arange(12) % 2, np.arange(8), np.arange(8, 12), **settings)  # type: ignore[arg-type]
    return network, kept


def test_it_stops_after_so_many_epochs_without_a_better_score(monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, [0.1, 0.5, 0.5, 0.2])  # a fifth epoch would exhaust them
    assert trained(50, patience=2)[1] == 2


def test_the_weights_of_the_best_epoch_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, [0.1, 0.9, 0.2, 0.3])
    best, kept = trained(4)
    assert kept == 2
    scores(monkeypatch, [0.1, 0.9])
    stopped, _ = trained(2)
    scores(monkeypatch, [0.1, 0.2, 0.3, 0.4])
    last, _ = trained(4)
    for (name, a), b in zip(best.state_dict().items(), stopped.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert not torch.equal(a, last.state_dict()[name])


def test_dropout_drops_where_it_learns_and_not_where_it_is_judged() -> None:
    network, clips, modes = both(), random_clips([5] * 12), []
    network.register_forward_hook(lambda module, *_: modes.append(module.training))
    with seeded(0):
        train(
            network, clips, np.arange(12) % 2, np.arange(8), np.arange(8, 12),
            seed=0, lr=1e-3, batch=4, max_epochs=2, patience=2,
        )  # fmt: skip
    assert modes == [True, True, False] * 2


def test_clips_of_similar_length_learn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    def spy(lengths: list[int], batch: int, dice: np.random.Generator) -> list[NDArray[np.int64]]:
        asked.append(lengths)
        return shuffled(lengths, batch, dice)

    monkeypatch.setattr("classifiers.branch_training.shuffled", spy)
    trained(1)
    assert asked == [[3, 9] * 4]  # of the eight that are fitted


def test_a_slow_start_is_not_stopped_at_chance() -> None:
    """Recall stands at chance for epochs; patience must count from when nothing got better."""
    X, y, groups = clips_for("mel-cnn")
    which = [c.split("-")[1] for c in y]
    head = small("mel-cnn", max_epochs=40, patience=3, lr=2e-3).fit(X, which, groups)
    assert np.mean(head.predict(X) == which) > 0.9  # 0.5 where recall alone decides


def test_rare_classes_weigh_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balanced weights: n / (K * count), of the clips that are fitted."""
    given: list[NDArray[Any]] = []
    loss = functional.cross_entropy

    def spy(logits: Any, truth: Any, weight: Any) -> Any:
        given.append(weight.cpu().numpy())
        return loss(logits, truth, weight)

    monkeypatch.setattr(functional, "cross_entropy", spy)
    y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1])  # those after the eighth are held out
    with seeded(0):
        train(
            both(), random_clips([5] * 12), y, np.arange(8), np.arange(8, 12),
            seed=0, lr=1e-3, batch=8, max_epochs=1, patience=1,
        )  # fmt: skip
    np.testing.assert_allclose(given, [[8 / (2 * 6), 8 / (2 * 2)]], rtol=1e-6)


def test_training_that_diverges_is_said_so() -> None:
    with pytest.raises(HeadError, match=r"diverged in epoch \d+: lr is 1e\+30; lower it"):
        trained(5, lr=1e30)


def test_posteriors_come_in_the_order_of_the_clips_and_without_dropout() -> None:
    network, clips = both().train(), random_clips([9, 1, 30, 4, 4, 17, 2])
    together = posteriors(network, clips, batch=3)
    apart = np.concatenate([posteriors(network, [c], batch=3) for c in clips])
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-6)
    assert len(np.unique(together[:, 0])) == 7
    assert posteriors(network, [], batch=3).shape == (0, 2)


def test_draws_inside_a_seed_leave_the_outside_as_it_was() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(4)
    torch.testing.assert_close(torch.get_rng_state(), before)
    with seeded(3):
        torch.testing.assert_close(torch.rand(4), first, rtol=0, atol=0)


def test_batches_are_small_where_clips_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch_training, "_FRAMES_TOGETHER", 100)
    lengths = np.array([1, 1, 2, 30, 40, 50, 90, 500])
    batches = branch_training.parted(np.arange(8), lengths, 3)
    assert [b.tolist() for b in batches] == [[0, 1, 2], [3, 4], [5], [6], [7]]
    assert [b.tolist() for b in branch_training.parted(np.arange(0), lengths[:0], 3)] == []
