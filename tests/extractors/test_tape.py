"""Pieces of a long recording are the same whether they are read from its beginning or one after the other."""

import os
from pathlib import Path

import clip_makers
import numpy as np
import pytest
import soundfile

from extractors import sound_blocks
from extractors import tape as module
from extractors.audio import read_waveforms
from extractors.contract import Clip, DecodeError, TooShortError
from extractors.reading import sound_of
from extractors.shared import Shared
from extractors.tape import Tape

RATE, SECONDS = 22050, 40.0
RATES = (16000, 22050)


def noise(seconds: float = SECONDS) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


@pytest.fixture(params=["wav", "flac", "m4a", "mkv", "mp3", "gaps.mkv"])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"long.{request.param}"
    if request.param == "gaps.mkv":  # of two seconds each
        parts = [(0.0, noise(2.5)), (4.5, noise(24.0)), (30.5, noise(8.0))]
        return clip_makers.write_clip(path, sound=parts, sound_codec="flac", rate=RATE)
    if request.param in ("wav", "flac"):
        soundfile.write(path, np.stack([noise(), noise()[::-1]], axis=1), RATE)
        return path
    codec = {"m4a": "aac", "mkv": "aac", "mp3": "libmp3lame"}[request.param]
    return clip_makers.write_clip(path, sound=[(0.5, noise())], sound_codec=codec, rate=RATE)


@pytest.mark.parametrize("kept", [1 << 14, 1 << 30])
def test_pieces_are_the_same(recording: Path, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", kept)
    tape = Tape()
    for start, end in [
        (0.0, 3.0),
        (1.5, 4.5),
        (9.1, 9.2),
        (9.15, 20.0),
        (36.0, 99.0),
        (2.0, 5.0),
        (30.0, 33.0),
    ]:
        ours = read_waveforms(recording, RATES, start=start, end=end, tape=tape)
        fresh = read_waveforms(recording, RATES, start=start, end=end)
        for rate in RATES:
            np.testing.assert_array_equal(ours[rate].samples, fresh[rate].samples)
            assert ours[rate].start == fresh[rate].start
            assert ours[rate].heard == fresh[rate].heard


@pytest.mark.parametrize("reader", [None, Tape()], ids=["anew", "tape"])
def test_gaps_are_those_of_the_piece(tmp_path: Path, reader: Tape | None) -> None:
    parts = [(0.0, noise(10.0)), (12.0, noise(28.0))]
    path = clip_makers.write_clip(tmp_path / "a.mkv", sound=parts, sound_codec="pcm_s16le", rate=RATE)
    pieces = {(1.0, 2.0): 0.0, (9.0, 11.5): 1.5, (10.5, 11.0): 0.5, (11.0, 30.0): 1.0, (30.0, 33.0): 0.0}
    for (start, end), gap in pieces.items():
        piece = read_waveforms(path, [RATE], start=start, end=end, tape=reader)[RATE]
        assert piece.heard is not None
        assert piece.heard.gaps == pytest.approx(gap, abs=0.06), (start, end)  # by a frame of the codec


def test_a_piece_behind_the_end_is_too_short(recording: Path) -> None:
    tape = Tape()
    read_waveforms(recording, RATES, start=38.0, end=99.0, tape=tape)
    for _ in range(2):
        with pytest.raises(TooShortError):
            read_waveforms(recording, RATES, start=50.0, end=51.0, tape=tape)


def test_what_was_passed_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(), RATE)
    opened, decode = [], sound_blocks._decode_file
    monkeypatch.setattr(sound_blocks, "_decode_file", lambda path: opened.append(path) or decode(path))
    shared = Shared(frozenset({RATE}), tape=Tape())
    for start in range(0, 30, 2):
        again = Shared(shared.rates, tape=shared.tape)  # of every clip its own
        sound_of(Clip("c", None, path, float(start), start + 3.0, shared=again), RATE)
    assert len(opened) == 1
    sound_of(Clip("c", None, path, shared=Shared(shared.rates, tape=shared.tape)), RATE)
    assert len(opened) == 2  # a whole file is kept by nobody


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path, tape = tmp_path / "long.wav", Tape()
    soundfile.write(path, noise(), RATE)
    read_waveforms(path, [RATE], start=1.0, end=2.0, tape=tape)
    soundfile.write(path, -noise(SECONDS - 1), RATE)
    piece = read_waveforms(path, [RATE], start=1.0, end=2.0, tape=tape)[RATE]
    np.testing.assert_allclose(piece.samples, -noise()[RATE : 2 * RATE], atol=1e-4)


def test_a_file_of_the_same_size_and_age_in_its_place_is_read_anew(tmp_path: Path) -> None:
    path, other, tape = tmp_path / "long.wav", tmp_path / "other.wav", Tape()
    for file, samples in ((path, noise()), (other, -noise())):
        soundfile.write(file, samples, RATE)
        os.utime(file, (1e9, 1e9))
    read_waveforms(path, [RATE], start=1.0, end=2.0, tape=tape)
    other.replace(path)
    piece = read_waveforms(path, [RATE], start=1.0, end=2.0, tape=tape)[RATE]
    np.testing.assert_allclose(piece.samples, -noise()[RATE : 2 * RATE], atol=1e-4)


@pytest.mark.parametrize("damage", ["cut", "nan"])
def test_an_error_is_met_by_every_piece_behind_it(tmp_path: Path, damage: str) -> None:
    """Or what is found would depend on which process looked at the piece before."""
    path, tape = tmp_path / "long.wav", Tape()
    samples = noise()
    samples[20 * RATE] = np.nan if damage == "nan" else 0.0
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    if damage == "cut":
        clip_makers.cut(path, 0.5)
    good = read_waveforms(path, [RATE], start=1.0, end=2.0, tape=tape)
    for start, end in [(19.0, 30.0), (35.0, 36.0), (35.0, 36.0)]:
        with pytest.raises(DecodeError):
            read_waveforms(path, [RATE], start=start, end=end, tape=tape)
    again = read_waveforms(path, [RATE], start=1.0, end=2.0, tape=tape)
    np.testing.assert_array_equal(again[RATE].samples, good[RATE].samples)
