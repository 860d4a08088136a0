"""Sound decoded into blocks: channels averaged, gaps filled, and what is no sound refused."""

from pathlib import Path

import numpy as np
import pytest
from clip_makers import set_flac_length, tone, write_clip
from sounds import RATE, noise, write_sound

from extractors import sound_blocks
from extractors.audio import Waveform, read_waveform
from extractors.contract import DecodeError, LimitExceededError


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
def test_channels_are_averaged(tmp_path: Path, name: str) -> None:
    left, right = tone(1, RATE, level=0.6), np.zeros(RATE)
    sound = read_waveform(write_sound(tmp_path / name, np.column_stack([left, right])), RATE)
    middle = slice(4000, 12000)
    assert np.abs(sound.samples[middle]).max() == pytest.approx(0.3, abs=0.02)


def test_channels_of_opposite_sign_cancel(tmp_path: Path) -> None:
    left = noise()
    path = write_sound(tmp_path / "a.wav", np.column_stack([left, -left]), subtype="FLOAT")
    assert np.abs(read_waveform(path, RATE).samples).max() == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_nan_and_infinity_are_refused(tmp_path: Path, subtype: str, bad: float) -> None:
    samples = noise()
    samples[7] = bad
    with pytest.raises(DecodeError, match=r"^voice\.wav: the sound holds NaN or infinite samples$"):
        read_waveform(write_sound(tmp_path / "voice.wav", samples, subtype=subtype), RATE)


def test_nan_in_the_sound_of_a_video_is_refused(tmp_path: Path) -> None:
    samples = tone(1, RATE)
    samples[7] = np.nan
    path = write_clip(tmp_path / "clip.mkv", 5, sound=[(0, samples)], sound_codec="pcm_f32le")
    with pytest.raises(DecodeError, match="NaN"):
        read_waveform(path, RATE)


def test_a_gap_in_the_sound_moves_nothing(tmp_path: Path) -> None:
    low, high = tone(0.5, RATE, hz=300), tone(0.5, RATE, hz=3000)
    path = write_clip(tmp_path / "clip.mkv", 50, sound=[(0, low), (1.5, high)], sound_codec="flac")
    try:
        sound = read_waveform(path, RATE)
    except DecodeError:
        return  # to refuse is honest, too
    begins = round((1.6 - sound.start) * RATE)
    piece = sound.samples[begins : begins + 1600]
    assert len(piece) == 1600
    assert np.abs(np.fft.rfft(piece)).argmax() * 10 == pytest.approx(3000, abs=50)


@pytest.mark.parametrize("block", [1, 999, 16000, 20000])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_the_size_of_the_blocks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block: int
) -> None:
    path = write_sound(tmp_path / name, noise())
    expected = read_waveform(path, 22050, start=0.1, end=0.9).samples
    monkeypatch.setattr(sound_blocks, "BLOCK", block)
    sound = read_waveform(path, 22050, start=0.1, end=0.9)
    np.testing.assert_allclose(sound.samples, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["a.wav", "a.w64"])
@pytest.mark.parametrize("channels", [2, 6, 9, 64])
def test_up_to_sixty_four_channels_are_averaged(tmp_path: Path, name: str, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, channels))
    sound = read_waveform(write_sound(tmp_path / name, samples, subtype="FLOAT"), RATE)
    np.testing.assert_allclose(sound.samples, samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("channels", [2, 7, 8, 9, 40])
def test_channels_that_the_codec_keeps_apart_are_averaged(tmp_path: Path, channels: int) -> None:
    samples = np.outer(tone(0.5, RATE), np.linspace(0, 2, channels))
    path = write_sound(tmp_path / "a.oga", samples, format="OGG", subtype="VORBIS")
    np.testing.assert_allclose(
        read_waveform(path, RATE).samples[2000:6000], samples.mean(axis=1)[2000:6000], atol=0.02
    )


def test_sound_that_changes_its_rate_midway_is_refused(tmp_path: Path) -> None:
    first = write_sound(tmp_path / "voice.mp3", noise(1, 24000), 24000)
    second = write_sound(tmp_path / "second.mp3", noise(1, 16000), 16000)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(
        DecodeError, match=r"^voice\.mp3: the sound is at \d+ Hz where its header says \d+ Hz$"
    ):
        read_waveform(first, RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.w64"])
def test_sixty_five_channels_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LimitExceededError, match=rf"^{name}: 65 channels of sound; 1 to 64 are read$"):
        read_waveform(write_sound(tmp_path / name, np.zeros((100, 65))), RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.w64"])
@pytest.mark.parametrize(("rate", "read"), [(999, False), (1000, True), (768000, True), (768001, False)])
def test_rates_beyond_sound_are_refused(tmp_path: Path, name: str, rate: int, read: bool) -> None:
    path = write_sound(tmp_path / name, np.zeros(768), rate)
    if read:
        assert len(read_waveform(path, rate).samples) == 768
        return
    with pytest.raises(
        LimitExceededError, match=rf"^{name}: sound at {rate} Hz; 1000 to 768000 Hz are read$"
    ):
        read_waveform(path, RATE)


def test_a_flac_that_promises_nothing_is_read(tmp_path: Path) -> None:
    path = set_flac_length(write_sound(tmp_path / "voice.flac", noise(20)), 0)
    assert len(read_waveform(path, RATE).samples) == 20 * RATE


def test_a_short_gap_in_the_sound_becomes_silence(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "clip.mkv", sound=[(0, tone(2, RATE)), (2.4, tone(2, RATE))], sound_codec="pcm_s16le"
    )
    sound = read_waveform(path, RATE)
    assert len(sound.samples) / RATE == pytest.approx(4.4, abs=0.01)
    assert Waveform(sound.samples[round(2.01 * RATE) : round(2.39 * RATE)], RATE).silent
    assert np.abs(sound.samples[round(2.45 * RATE) :]).max() > 0.2


def test_a_gap_of_many_minutes_is_refused(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "clip.mkv", sound=[(0, tone(1, RATE)), (700, tone(1, RATE))], sound_codec="flac"
    )
    with pytest.raises(DecodeError, match=r"^clip\.mkv: a gap of 699 s in the sound$"):
        read_waveform(path, RATE)
