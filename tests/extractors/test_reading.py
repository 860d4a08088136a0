"""The media of a clip come out the same, whoever else reads them, and are decoded once."""

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clip_makers import cut, paint, tone, write_clip

from extractors import reading
from extractors.contract import Clip, ClipError, DecodeError, MissingMediaError
from extractors.reading import frames_of, sound_of
from extractors.shared import Shared
from extractors.video import Resize

RATE = 16000


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two seconds of numbered frames and of a tone."""
    return write_clip(tmp_path / "film.mkv", 50, sound=[(0, tone(2, RATE))], sound_codec="flac")


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """Count how often a function of the module is called."""
    plain: Callable[..., object] = getattr(reading, name)
    calls: list[int] = []

    def call(*args: object, **options: object) -> object:
        calls.append(1)
        return plain(*args, **options)

    monkeypatch.setattr(reading, name, call)
    return calls


PARTS = [(None, None), (0.5, None), (None, 1.2), (0.4, 1.6)]


@pytest.mark.parametrize(("start", "end"), PARTS)
@pytest.mark.parametrize("rates", [{RATE}, {8000, RATE, 44100}])
def test_shared_sound_is_that_of_a_reader_alone(
    film: Path, start: float | None, end: float | None, rates: set[int]
) -> None:
    shared = Clip("a", video=film, start=start, end=end, shared=Shared(frozenset(rates)))
    for rate in rates:
        alone, found = sound_of(Clip("a", video=film, start=start, end=end), rate), sound_of(shared, rate)
        np.testing.assert_array_equal(found.samples, alone.samples)
        assert (found.rate, found.start) == (alone.rate, alone.start) == (rate, start or 0.0)


def test_two_rates_are_one_decoding(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, alone = counted(monkeypatch, "read_waveforms"), counted(monkeypatch, "read_waveform")
    clip = Clip("a", video=film, shared=Shared(frozenset({8000, RATE})))
    for rate in (8000, RATE, 8000):
        assert sound_of(clip, rate).rate == rate
    assert (len(together), len(alone)) == (1, 0)


@pytest.mark.parametrize("foretold", [frozenset(), frozenset({RATE})])
def test_a_rate_that_was_not_foretold_is_read_all_the_same(film: Path, foretold: frozenset[int]) -> None:
    clip = Clip("a", video=film, shared=Shared(foretold))
    for rate in (RATE, 8000, 22050, RATE):
        np.testing.assert_array_equal(
            sound_of(clip, rate).samples, sound_of(Clip("a", video=film), rate).samples
        )


def test_the_sound_file_goes_before_the_video(film: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "voice.wav", np.full(RATE, 0.5), RATE, subtype="FLOAT")
    for shared in (None, Shared(frozenset({RATE}))):
        clip = Clip("a", video=film, audio=tmp_path / "voice.wav", shared=shared)
        assert set(sound_of(clip, RATE).samples) == {np.float32(0.5)}


GRIDS = [(0.04, None), (0.1, Resize(32)), (1 / 30, Resize(48))]


@pytest.mark.parametrize(("start", "end"), PARTS)
def test_shared_frames_are_those_of_a_reader_alone(
    film: Path, start: float | None, end: float | None
) -> None:
    clip = Clip("a", video=film, start=start, end=end, shared=Shared(readers=len(GRIDS)))
    streams = [frames_of(clip, *grid) for grid in GRIDS]
    together = [[f for f in column if f is not None] for column in zip(*zip_longest(*streams), strict=True)]
    for grid, found in zip(GRIDS, together, strict=True):
        alone = list(frames_of(Clip("a", video=film, start=start, end=end), *grid))
        assert [f.time for f in found] == [f.time for f in alone]
        assert len(found) > 5
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("together", [True, False])
def test_frames_are_decoded_once_for_two_readers(
    film: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    calls = counted(monkeypatch, "decode")
    clip = Clip("a", video=film, shared=Shared(readers=2))
    if together:
        list(zip(frames_of(clip, 0.04), frames_of(clip, 0.04), strict=True))
    else:
        assert [len(list(frames_of(clip, 0.04))) for _ in range(2)] == [50, 50]
    assert len(calls) == 1


def test_an_end_for_one_reader_is_none_for_the_other(film: Path) -> None:
    """A reader that stops early must not stop the decoding for the rest."""
    clip = Clip("a", video=film, shared=Shared(readers=2))
    first, second = frames_of(clip, 0.04), frames_of(clip, 0.04)
    next(first)
    first.close()  # type: ignore[attr-defined]  # a generator
    assert len(list(second)) == 50


def test_a_video_that_was_cut_short_is_refused_for_every_reader(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 64, 96, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "clip.mp4", list(noise), container_options={"movflags": "faststart"})
    clip = Clip("a", video=cut(path, 0.5), shared=Shared(readers=3))
    messages = set()
    for stream in [frames_of(clip, 0.04) for _ in range(3)]:
        with pytest.raises(DecodeError, match="video stops after") as caught:
            list(stream)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_memory_that_runs_out_while_decoding_shortens_no_other_reader(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = reading.decode

    def decode(*args: object) -> object:
        frames = plain(*args)  # type: ignore[arg-type]
        yield from (next(frames) for _ in range(10))
        raise MemoryError

    monkeypatch.setattr(reading, "decode", decode)
    clip = Clip("a", video=film, shared=Shared(readers=2))
    for stream in [frames_of(clip, 0.04) for _ in range(2)]:
        with pytest.raises(MemoryError):
            list(stream)


@pytest.mark.parametrize("shared", [None, Shared(frozenset({RATE}), 2)], ids=["alone", "shared"])
def test_what_a_clip_lacks_is_named(tmp_path: Path, shared: Shared | None) -> None:
    dumb = write_clip(tmp_path / "dumb.mp4", [paint(1)])
    blind = write_clip(tmp_path / "blind.mp4", sound=[(0, tone(1, RATE))])
    with pytest.raises(MissingMediaError, match=r"^dumb\.mp4: no sound stream$"):
        sound_of(Clip("a", video=dumb, shared=shared), RATE)
    with pytest.raises(MissingMediaError, match=r"^blind\.mp4: no video stream$"):
        list(frames_of(Clip("b", video=blind, shared=shared), 0.04))
    for read in (lambda c: sound_of(c, RATE), lambda c: frames_of(c, 0.04)):
        with pytest.raises(ClipError, match="manifest names"):
            read(Clip("c", shared=shared))
