from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speakers import write_encoder
from transformers import Wav2Vec2Model

from affectstack import AffectstackError
from pipeline.finetuning.loop import Loop, Settings
from pipeline.finetuning.network import SpeechClassifier

N = 12
LABELS = np.arange(N) % 2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sound(i: int) -> np.ndarray:
    times = np.arange(5000 + 200 * i) / 16000
    tone = np.sin(2 * np.pi * (900 if LABELS[i] else 200) * times)
    return (tone + 0.1 * np.random.default_rng(i).normal(size=len(times))).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def loop(encoder: Path, folder: Path, **settings: Any) -> Loop:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(5)
    network = SpeechClassifier(Wav2Vec2Model.from_pretrained(encoder), 2, "mean")
    options = {"epochs": 3, "lr": 0.003, "eval_every": 2, "save_every": 2, "seed": 7}
    return Loop(network, sound, LABELS, range(10), [10, 11], Settings(**{**options, **settings}), folder)


def weights(done: Loop) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in done.network.state_dict().items()}


def scalars(folder: Path, name: str) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return [e.value for e in board.Scalars(name)]


def test_the_loss_falls_and_the_classes_are_learned(encoder: Path, tmp_path: Path) -> None:
    learner = loop(encoder, tmp_path / "a", epochs=25, lr=0.01)
    assert list(learner.run())[-1] == learner.steps == 50
    losses = scalars(tmp_path / "a", "loss")
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.2
    assert learner.learned.accuracy == 1.0
    assert (learner.logits(range(N)).argmax(axis=1) == LABELS).mean() > 0.9


def test_the_rate_falls_to_nothing_in_a_straight_line(encoder: Path, tmp_path: Path) -> None:
    learner = loop(encoder, tmp_path / "a")
    list(learner.run())
    np.testing.assert_allclose(scalars(tmp_path / "a", "lr"), 0.003 * (1 - np.arange(6) / 6), rtol=1e-5)


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_run_that_goes_on_ends_with_the_same_bits(encoder: Path, tmp_path: Path, stop: int) -> None:
    whole = loop(encoder, tmp_path / "whole")
    list(whole.run())
    broken = loop(encoder, tmp_path / "broken")
    for step in broken.run():
        if step == stop:
            break
    np.random.seed(99)  # noqa: NPY002  # a new process knows nothing of the old one's numbers
    torch.manual_seed(99)
    again = loop(encoder, tmp_path / "broken")
    steps = list(again.run())
    assert steps[0] == stop - stop % 2  # the last state, not the beginning
    assert again.learned == whole.learned
    for name, value in weights(whole).items():
        assert torch.equal(weights(again)[name], value), name


def test_another_seed_learns_otherwise(encoder: Path, tmp_path: Path) -> None:
    first, second = loop(encoder, tmp_path / "a"), loop(encoder, tmp_path / "b", seed=8)
    list(first.run())
    list(second.run())
    assert any(not torch.equal(v, weights(second)[k]) for k, v in weights(first).items())


def test_the_weights_of_the_best_look_are_kept(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([0.5, 0.9, 0.9])
    seen: list[dict[str, torch.Tensor]] = []

    def accuracy(self: Loop) -> float:
        seen.append(weights(self))
        return next(looks)

    monkeypatch.setattr(Loop, "_accuracy", accuracy)
    learner = loop(encoder, tmp_path / "a")
    list(learner.run())
    assert (learner.learned.step, learner.learned.accuracy) == (4, 0.9)
    assert all(torch.equal(v, seen[1][k]) for k, v in weights(learner).items())


def test_accumulated_batches_weigh_as_one(encoder: Path, tmp_path: Path) -> None:
    """Without dropout and masks, two batches of two are one batch of four."""
    still = {"layerdrop": 0.0, "apply_spec_augment": False}
    for name in (
        "hidden_dropout",
        "activation_dropout",
        "attention_dropout",
        "feat_proj_dropout",
        "final_dropout",
    ):
        still[name] = 0.0
    calm = write_encoder(tmp_path / "calm", **still)
    one = loop(calm, tmp_path / "a", epochs=1, batch=4, accumulate=1)
    two = loop(calm, tmp_path / "b", epochs=1, batch=2, accumulate=2)
    list(one.run())
    list(two.run())
    for name, value in weights(one).items():
        np.testing.assert_allclose(weights(two)[name], value, atol=2e-4, err_msg=name)


def test_a_loss_that_is_no_number_stops_with_advice(encoder: Path, tmp_path: Path) -> None:
    broken = loop(encoder, tmp_path / "a")
    with torch.no_grad():
        broken.network.head[4].bias.fill_(torch.nan)
    with pytest.raises(AffectstackError, match=r"the loss is nan at step 1; lower the learning rate"):
        list(broken.run())


def test_nothing_is_left_when_the_states_are_forgotten(encoder: Path, tmp_path: Path) -> None:
    learner = loop(encoder, tmp_path / "a")
    list(learner.run())
    assert list((tmp_path / "a").glob("*.state"))
    learner.forget()
    assert not list((tmp_path / "a").glob("*.state"))
    assert not list((tmp_path / "a").glob(".*.tmp"))
