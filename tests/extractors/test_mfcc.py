"""Cepstral coefficients: librosa's numbers, rows per hop, and clips cut or filled up to one length."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_makers import tone, write_clip
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.fft import idct
from sounds import write_sound

from affectstack import AffectstackError
from extractors.contract import Clip, TooShortError, check_features
from extractors.logmel import LogMel
from extractors.mfcc import Mfcc

RATE = 22050
FULL = 79_380  # 3.6 s


def clip(path: Path, samples: NDArray[Any], rate: int = RATE) -> Clip:
    return Clip("a", audio=write_sound(path, samples, rate, "FLOAT"))


def noise(samples: int, level: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, level, samples).astype(np.float32)


def chirp(samples: int, rate: int) -> NDArray[np.float32]:
    """Return a chirp, then 0.2 s of nothing, then the chirp in noise."""
    t = np.arange(samples) / rate
    hiss = np.random.default_rng(0).normal(0, 0.02, samples)
    whole = 0.3 * np.sin(2 * np.pi * (200 * t + 400 * t**2)) + hiss * (t > 0.6)
    return np.where((t > 0.3) & (t < 0.5), 0, whole).astype(np.float32)


# Rows of librosa.feature.mfcc of `chirp`, librosa 0.11.0; row 17 lies where there is nothing.
DEFAULTS = {
    0: [-352.5272, 200.4368, 55.6258, 31.8584, 31.5694, 15.2365, 12.3300, 6.5821, 0.8917, -0.2714],
    10: [-526.4692, 58.9393, 47.4132, 30.0253, 9.2122, -12.1565, -31.2118, -45.5064, -53.3588, -54.0676],
    17: [-570.9975, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
    77: [-165.9808, 1.4815, -14.2508, -7.9677, 11.0918, 12.8301, -11.1477, -14.0263, 3.1995, 22.5218],
    155: [-162.6678, -6.6891, -29.9031, 33.0745, 5.4483, -24.6068, 13.6127, 2.5731, -18.7469, 7.2306],
}
SHORTER = {
    20: [-425.8505, 146.2554, 38.6496, -17.0794, -20.0129, -18.6802, -20.3299, -12.2603, -1.8380, 3.2063],
    58: [-131.9570, 34.8298, -30.6518, -43.2511, -4.6960, 27.8304, 17.1014, -4.8674, -18.5861, -9.2052],
}
# n_mfcc=13, n_fft=1024, hop_length=160, n_mels=40, fmin=60, fmax=5000, at 11,025 Hz: half of that is no whole
# number.
OTHERWISE = {
    60: [-105.3175, 9.2910, -10.4738, -21.4197, -9.6527, 7.6736, 21.1318, 8.6814, -8.5254, -20.7337,
         -11.6255, 7.2039, 15.3567],
    125: [-94.8151, 1.4765, -29.8029, 14.0339, 13.3424, -17.8893, -6.0577, 13.0148, -1.6804, -10.1925,
          8.5135, 4.8821, -7.2505],
}  # fmt: skip
OPTIONS = {
    "rate": 11025, "n_fft": 1024, "hop": 160, "bands": 40, "coefficients": 13, "low": 60.0, "high": 5000.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "rows", "options", "golden"),
    [(FULL, 156, {}, DEFAULTS), (30_001, 59, {}, SHORTER), (20_000, 126, OPTIONS, OTHERWISE)],
)
def test_the_numbers_are_those_of_librosa(
    tmp_path: Path, samples: int, rows: int, options: dict[str, Any], golden: dict[int, list[float]]
) -> None:
    extractor = Mfcc(**options)
    assert extractor.sound_rate is not None
    sound = chirp(samples, extractor.sound_rate)
    found = extractor.extract(clip(tmp_path / "a.wav", sound, extractor.sound_rate))
    assert len(found.values) == rows
    np.testing.assert_allclose(found.values[list(golden)], list(golden.values()), rtol=0, atol=2e-4)


@pytest.mark.parametrize("seconds", [None, 3.6])
def test_the_settings_of_kateryna_give_its_shape(tmp_path: Path, seconds: float | None) -> None:
    """SYSTEMS 3.2 and 11: 79,380 samples are 156 rows of 10 coefficients."""
    found = Mfcc(seconds=seconds).extract(clip(tmp_path / "a.wav", tone(3.6, RATE)))
    check_features(found, 10)
    assert found.values.shape == (156, 10)
    assert found.valid.all()


def test_the_coefficients_are_those_of_the_mel_bands(tmp_path: Path) -> None:
    """All of them give back the spectrogram, but at the edges, which log-mel reflects."""
    one = clip(tmp_path / "a.wav", noise(RATE))
    bands = LogMel(RATE, 2048, 512, 128, 0.0).extract(one)
    found = Mfcc(coefficients=128).extract(one)
    np.testing.assert_allclose(
        idct(found.values, axis=1, norm="ortho")[2:-2], bands.values[2:-2], rtol=0, atol=1e-3
    )
    np.testing.assert_array_equal(found.intervals, bands.intervals)


def test_fewer_coefficients_are_the_first_of_more(tmp_path: Path) -> None:
    one = clip(tmp_path / "a.wav", noise(RATE))
    more = Mfcc(coefficients=20).extract(one).values
    np.testing.assert_array_equal(Mfcc(coefficients=3).extract(one).values, more[:, :3])


@given(gain=st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_loudness_is_in_the_first_coefficient_alone(
    tmp_path_factory: pytest.TempPathFactory, gain: float
) -> None:
    folder = tmp_path_factory.mktemp("gain")
    quiet = Mfcc().extract(clip(folder / "a.wav", noise(8000))).values
    loud = Mfcc().extract(clip(folder / "b.wav", np.float32(gain) * noise(8000))).values
    np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], 20 * np.log10(gain) * 128**0.5, atol=2e-3)
    np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=2e-3)


def test_a_quiet_row_lies_eighty_decibels_below_the_loudest_band_of_the_clip(tmp_path: Path) -> None:
    samples = np.concatenate([noise(RATE), np.zeros(RATE, np.float32)])
    loudest = LogMel(RATE, 2048, 512, 128, 0.0).extract(clip(tmp_path / "a.wav", samples)).values.max()
    found = Mfcc().extract(clip(tmp_path / "a.wav", samples))
    np.testing.assert_allclose(found.values[-1], [(loudest - 80) * 128**0.5, *[0] * 9], atol=1e-3)


def test_a_silent_clip_lies_on_the_floor_and_says_so(tmp_path: Path) -> None:
    found = Mfcc().extract(clip(tmp_path / "a.wav", np.zeros(RATE)))
    np.testing.assert_allclose(found.values[:, 0], -100 * 128**0.5, rtol=1e-6)
    np.testing.assert_allclose(found.values[:, 1:], 0, atol=1e-6)
    assert found.silent


def test_a_clip_whose_centre_is_silent_says_so_where_only_that_is_taken(tmp_path: Path) -> None:
    samples = np.zeros(3 * RATE)
    samples[:1000] = 0.5
    one = clip(tmp_path / "a.wav", samples)
    assert Mfcc(seconds=1).extract(one).silent
    assert not Mfcc().extract(one).silent


@given(samples=st.integers(1025, 30_000))
@example(samples=1536)  # the last centre lies exactly at the end
@settings(max_examples=25, deadline=None)
def test_what_follows_a_short_clip_is_not_valid(
    tmp_path_factory: pytest.TempPathFactory, samples: int
) -> None:
    one = clip(tmp_path_factory.mktemp("short") / "a.wav", noise(samples))
    alone, filled = Mfcc().extract(one), Mfcc(seconds=1.5).extract(one)
    rows = samples // 512 + 1
    assert len(alone.values) == rows
    assert len(filled.values) == 33_075 // 512 + 1
    assert filled.valid.tolist() == [True] * rows + [False] * (len(filled.values) - rows)
    np.testing.assert_allclose(filled.values[:rows], alone.values, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(filled.intervals[:rows], alone.intervals)


@pytest.mark.parametrize("begin", [0.0, 0.5])
@pytest.mark.parametrize(("samples", "first"), [(FULL + 1, 0), (FULL + 2, 1), (FULL + 10_001, 5000)])
def test_of_a_long_clip_the_centre_is_taken_at_its_time(
    tmp_path: Path, samples: int, first: int, begin: float
) -> None:
    lead = round(begin * RATE)
    whole = clip(tmp_path / "a.wav", noise(lead + samples))
    assert whole.audio is not None
    found = Mfcc(seconds=3.6).extract(Clip("a", audio=whole.audio, start=begin or None))
    first += lead
    centre = Mfcc().extract(clip(tmp_path / "b.wav", noise(lead + samples)[first : first + FULL]))
    np.testing.assert_array_equal(found.values, centre.values)
    np.testing.assert_allclose(found.intervals, centre.intervals + first / RATE, rtol=0, atol=1e-9)
    assert found.valid.all()


def test_late_sound_has_late_rows(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 25, sound=[(0.5, tone(1, 16000))], sound_codec="flac")
    for seconds in (None, 2.0):
        found = Mfcc(seconds=seconds).extract(Clip("a", video=path))
        assert found.intervals[0, 0] == pytest.approx(0.5, abs=0.001)
    assert Mfcc(seconds=0.5).extract(Clip("a", video=path)).intervals[0, 0] == pytest.approx(0.75, abs=0.001)


def test_the_number_of_rows_is_fixed_where_the_length_is() -> None:
    assert Mfcc().rows_per_second == RATE / 512
    assert Mfcc(seconds=3.6).rows_per_second == 0


@pytest.mark.parametrize("seconds", [None, 3.6])
@pytest.mark.parametrize("samples", [1, 512, 1024])
def test_less_than_half_a_window_is_too_short(tmp_path: Path, samples: int, seconds: float | None) -> None:
    with pytest.raises(TooShortError, match=f"^{samples} samples; one window is 2048$"):
        Mfcc(seconds=seconds).extract(clip(tmp_path / "a.wav", tone(1, RATE)[:samples]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0}, "rate 22050, n_fft 2048, hop 0, bands 128, 0 to 11025 Hz; expected hop up to n_fft"),
        ({"high": 12000.0}, "0 to 12000 Hz; expected .* a band range inside 0 to rate/2"),
        ({"coefficients": 0}, "0 coefficients of 128 bands; expected 1 to 128"),
        ({"coefficients": 41, "bands": 40}, "41 coefficients of 40 bands; expected 1 to 40"),
        ({"seconds": 0.0}, "seconds 0; expected more than half a window, 0.0464 s, and at most 21600"),
        ({"seconds": -1.0}, "seconds -1; expected"),
        ({"seconds": 1024 / RATE}, "seconds 0.0464399; expected"),
        ({"seconds": 21601.0}, "seconds 21601; expected"),
        ({"seconds": float("inf")}, "seconds inf; expected"),
        ({"seconds": float("-inf")}, "seconds -inf; expected"),
        ({"seconds": float("nan")}, "seconds nan; expected"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AffectstackError, match=rf"^mfcc: .*{message}"):
        Mfcc(**options)
