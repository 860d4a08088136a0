"""The processes that decode strangers' files, and what they hold on to."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trained as corpus

sys.path.append(str(Path(__file__).parents[1] / "engine"))
from engine_lab import until

from extractors import Clip
from extractors.logmel import LogMel
from pipeline import Predictor
from pipeline.engine.messages import Limits
from pipeline.predicting.reading import Reader


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader({"mel": LogMel()}, 2, Limits(60)) as made:
        yield made


def write(path: Path) -> Path:
    """Write more sound than is decoded at a time."""
    sound = corpus.sound(corpus.CLASSES[0], 40.0, 0)
    return corpus.clip_makers.write_clip(
        path, sound=[(0.0, sound)], sound_codec="pcm_s16le", rate=corpus.RATE
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write(tmp_path / "long.wav")


def pieces(path: Path) -> list[Clip]:
    return [Clip("recording", audio=path, start=float(i), end=i + 1.0) for i in range(6)]


def held(reader: Reader, path: Path) -> list[str]:
    """Return where the decode workers have a file open, deleted or not (Linux)."""
    assert reader._pool is not None
    found = []
    for worker in reader._pool._workers:
        for link in Path(f"/proc/{worker.process.pid}/fd").iterdir():
            try:
                found += [str(link)] if str(link.readlink()).startswith(str(path)) else []
            except FileNotFoundError:
                continue  # closed just now
    return found


def test_a_file_is_let_go_once_a_request_is_over(reader: Reader, recording: Path) -> None:
    assert len(list(reader.features(pieces(recording), ["mel"]))) == 6
    recording.unlink()
    assert held(reader, recording)  # pieces that may follow go on where these ended
    reader.forget()
    until(lambda: not held(reader, recording))
    reader.forget()  # and once more, of nothing


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_is_let_go_when_another_comes(reader: Reader, recording: Path, whole: bool) -> None:
    assert len(list(reader.features(pieces(recording), ["mel"]))) == 6
    other = write(recording.parent / "other.wav")
    span = (None, None) if whole else (0.0, 1.0)
    clips = [Clip("other", None, other, *span)] * 40  # for both workers
    assert len(list(reader.features(clips, ["mel"]))) == 40
    assert not held(reader, recording)
    assert bool(held(reader, other)) is not whole
    reader.forget()


def test_a_file_is_let_go_when_others_are_looked_at(reader: Reader, recording: Path) -> None:
    assert len(list(reader.features(pieces(recording), ["mel"]))) == 6
    reader.look([recording] * 40)
    assert not held(reader, recording)


@pytest.mark.slow  # trains an experiment first
def test_a_predictor_lets_go_of_a_file_when_it_has_said_what_it_is(
    predictor: Predictor, recording: Path
) -> None:
    assert len(predictor.predict(recording).timeline) > 10
    until(lambda: not held(predictor._reader, recording))
