"""A predictor in a process of its own: it is ended when it takes too long, and comes back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trained as corpus

from pipeline import Predictor
from pipeline.predicting.recordings import PredictError
from pipeline.predicting.warm import TookTooLongError, WarmPredictor

pytestmark = pytest.mark.slow  # trains an experiment first


@pytest.fixture(scope="module")
def warm(trained: Path) -> Iterator[WarmPredictor]:
    made = WarmPredictor(trained, ["fusion.sources=[voice-log]"], workers=1)
    made.start()
    yield made
    made.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return corpus.film(tmp_path / "clip.mkv", corpus.CLASSES[0], 5, faces=False)


def test_it_says_what_a_predictor_says(warm: WarmPredictor, predictor: Predictor, clip: Path) -> None:
    said = warm.predict(clip, 60)
    assert said.label == corpus.CLASSES[0]
    first = predictor.predict(clip).sources[0]
    assert said.sources[0].posteriors == first.posteriors


def test_what_it_refuses_is_told(warm: WarmPredictor, tmp_path: Path) -> None:
    (tmp_path / "bad.mkv").write_text("no media")
    with pytest.raises(PredictError, match=r"bad\.mkv: not media"):
        warm.predict(tmp_path / "bad.mkv", 60)


def test_work_that_takes_too_long_is_ended_and_the_next_goes_on(warm: WarmPredictor, clip: Path) -> None:
    assert warm._process is not None
    process = warm._process
    with pytest.raises(TookTooLongError, match=r"took longer than 0\.0001 s, and was stopped"):
        warm.predict(clip, 0.0001)
    assert process.returncode == -signal.SIGKILL
    assert warm.predict(clip, 60).label == corpus.CLASSES[0]


def test_a_process_that_dies_is_replaced(warm: WarmPredictor, clip: Path) -> None:
    warm.predict(clip, 60)
    assert warm._process is not None
    os.kill(warm._process.pid, signal.SIGSTOP)  # so that the request is taken by nobody
    os.kill(warm._process.pid, signal.SIGKILL)
    with pytest.raises(PredictError, match="the process that predicts ended"):
        warm._ask(None, 60)
    assert warm.predict(clip, 60).label == corpus.CLASSES[0]


def test_an_experiment_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(PredictError, match=r"no .*experiment\.yaml here"):
        WarmPredictor(tmp_path / "experiment.yaml").start()
