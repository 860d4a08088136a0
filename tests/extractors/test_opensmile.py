"""OpenSMILE's reference feature sets."""

from pathlib import Path
from typing import Literal

import numpy as np
import opensmile
import pytest
import soundfile
from clip_makers import tone, write_clip

from extractors.contract import Clip, TooShortError, check_features
from extractors.opensmile import OpenSmile

RATE = 16000
Set = Literal["eGeMAPSv02", "ComParE_2016"]
Level = Literal["functionals", "lld"]
KINDS = [
    ("eGeMAPSv02", "functionals", 88),
    ("eGeMAPSv02", "lld", 25),
    ("ComParE_2016", "functionals", 6373),
    ("ComParE_2016", "lld", 65),
]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a buzz in noise, 16 bits, 16 kHz."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    dice = np.random.default_rng(0)
    samples = sum(tone(2, RATE, hz=140 * k, level=0.2 / k) for k in range(1, 20)) + dice.normal(
        0, 0.01, 2 * RATE
    )
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


@pytest.mark.parametrize(("feature_set", "level", "dim"), KINDS)
def test_sets_and_levels_have_their_published_sizes(
    voice: Path, feature_set: Set, level: Level, dim: int
) -> None:
    extractor = OpenSmile(feature_set, level)
    assert extractor.dim == dim
    found = extractor.extract(Clip("a", audio=voice))
    check_features(found, dim)
    assert found.valid.all()


@pytest.mark.parametrize(("feature_set", "level", "dim"), KINDS)
def test_values_are_those_of_opensmile_itself(voice: Path, feature_set: Set, level: Level, dim: int) -> None:
    smile = opensmile.Smile(
        opensmile.FeatureSet[feature_set], OpenSmile(feature_set, level)._smile.feature_level
    )
    expected = smile.process_file(str(voice))
    extractor = OpenSmile(feature_set, level)
    assert extractor.feature_names == tuple(expected.columns)
    np.testing.assert_array_equal(
        extractor.extract(Clip("a", audio=voice)).values, expected.to_numpy(dtype=np.float32)
    )


@pytest.mark.parametrize("feature_set", ["eGeMAPSv02", "ComParE_2016"])
def test_functionals_cover_the_whole_clip(voice: Path, feature_set: Set) -> None:
    assert OpenSmile(feature_set).extract(Clip("a", audio=voice)).intervals.tolist() == [[0, 2]]


@pytest.mark.parametrize("feature_set", ["eGeMAPSv02", "ComParE_2016"])
def test_descriptors_come_every_ten_milliseconds(voice: Path, feature_set: Set) -> None:
    found = OpenSmile(feature_set, "lld").extract(Clip("a", audio=voice))
    # openSMILE itself gives the last row of ComParE the start of the row before it.
    np.testing.assert_allclose(np.diff(found.intervals[:-1, 0]), 0.01, atol=1e-9)
    assert (found.intervals[:, 1] > found.intervals[:, 0]).all()
    assert found.intervals[-1, 1] <= 2


@pytest.mark.parametrize(("suffix", "subtype"), [("flac", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT")])
def test_a_copy_in_another_lossless_file_has_the_same_values(
    voice: Path, tmp_path: Path, suffix: str, subtype: str
) -> None:
    samples, _ = soundfile.read(voice)
    soundfile.write(tmp_path / f"copy.{suffix}", samples, RATE, subtype=subtype)
    found = OpenSmile().extract(Clip("a", audio=tmp_path / f"copy.{suffix}"))
    np.testing.assert_array_equal(found.values, OpenSmile().extract(Clip("a", audio=voice)).values)


def test_the_sound_of_a_video_has_the_same_values(voice: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(voice, dtype="float32")
    video = write_clip(tmp_path / "a.mkv", 50, sound=[(0, samples)], sound_codec="flac")
    found = OpenSmile().extract(Clip("a", video=video))
    expected = OpenSmile().extract(Clip("a", audio=voice))
    np.testing.assert_allclose(found.values, expected.values, rtol=0.01, atol=0.01)


def test_a_part_of_a_clip_equals_a_file_of_that_part(voice: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(voice)
    soundfile.write(tmp_path / "part.wav", samples[8000:24000], RATE, subtype="PCM_16")
    part = OpenSmile().extract(Clip("a", audio=voice, start=0.5, end=1.5))
    np.testing.assert_array_equal(
        part.values, OpenSmile().extract(Clip("b", audio=tmp_path / "part.wav")).values
    )
    assert part.intervals.tolist() == [[0.5, 1.5]]


def test_one_extractor_gives_the_same_values_again(voice: Path) -> None:
    extractor = OpenSmile("ComParE_2016")
    first = extractor.extract(Clip("a", audio=voice)).values
    np.testing.assert_array_equal(extractor.extract(Clip("a", audio=voice)).values, first)


@pytest.mark.parametrize(("feature_set", "level", "dim"), KINDS)
def test_silence_gives_finite_values(tmp_path: Path, feature_set: Set, level: Level, dim: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    check_features(OpenSmile(feature_set, level).extract(Clip("a", audio=tmp_path / "a.wav")), dim)


@pytest.mark.filterwarnings("error")  # the library's warning would be seen once per short clip
@pytest.mark.parametrize(("feature_set", "level", "dim"), KINDS)
@pytest.mark.parametrize("samples", [1, 200])
def test_a_moment_is_too_short(
    tmp_path: Path, feature_set: Set, level: Level, dim: int, samples: int
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1, RATE)[:samples], RATE)
    with pytest.raises(TooShortError, match=f"s of sound is too short for {feature_set}"):
        OpenSmile(feature_set, level).extract(Clip("a", audio=tmp_path / "a.wav"))


@pytest.mark.realdata
def test_a_real_voice_has_a_plausible_pitch_and_level(real_data: Path) -> None:
    """Actor 1 of RAVDESS is a man, actor 2 a woman."""
    extractor = OpenSmile()
    pitch = extractor.feature_names.index("F0semitoneFrom27.5Hz_sma3nz_percentile50.0")
    clips = [
        Clip("a", audio=real_data / f"ravdess_speech_16k/Actor_{n:02d}/03-01-01-01-01-01-{n:02d}.flac")
        for n in (1, 2)
    ]
    hertz = [27.5 * 2 ** (extractor.extract(c).values[0, pitch] / 12) for c in clips]
    assert 70 < hertz[0] < 150 < hertz[1] < 300
