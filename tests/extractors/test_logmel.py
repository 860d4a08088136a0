"""Log-mel spectrograms: a grid of hops, bands of rising frequency, decibels."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clip_makers import tone, write_clip

from affectstack import AffectstackError
from extractors.contract import Clip, TooShortError, check_features
from extractors.logmel import LogMel

RATE = 16000


def clip(path: Path, samples: np.ndarray, rate: int = RATE) -> Clip:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Clip("a", audio=path)


def slaney(hz: float) -> float:
    """Return mel after Slaney: linear to 1 kHz, logarithmic above."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


@pytest.mark.parametrize("samples", [513, 1024, 16000, 16001, 48000 - 1])
@pytest.mark.parametrize("hop", [256, 160])
def test_one_row_per_hop(tmp_path: Path, samples: int, hop: int) -> None:
    extractor = LogMel(hop=hop)
    found = extractor.extract(clip(tmp_path / "a.wav", tone(3, RATE)[:samples]))
    check_features(found, 64)
    assert len(found.values) == samples // hop + 1


def test_rows_lie_around_their_hop(tmp_path: Path) -> None:
    found = LogMel().extract(clip(tmp_path / "a.wav", tone(1, RATE)))
    assert found.intervals[0].tolist() == [0, 0.008]
    np.testing.assert_allclose(found.intervals[1:].mean(axis=1), np.arange(1, 63) * 0.016)
    np.testing.assert_allclose(found.intervals[1:, 0], found.intervals[:-1, 1])


def test_a_click_is_loudest_in_the_row_at_its_time(tmp_path: Path) -> None:
    samples = np.zeros(RATE)
    samples[8000] = 1.0
    found = LogMel().extract(clip(tmp_path / "a.wav", samples))
    loudest = found.values.mean(axis=1).argmax()
    assert found.intervals[loudest, 0] <= 0.5 <= found.intervals[loudest, 1]


@pytest.mark.parametrize("band", [3, 10, 25, 40, 60])
def test_a_pure_tone_peaks_in_its_band(tmp_path: Path, band: int) -> None:
    edges = np.linspace(slaney(50), slaney(8000), 66)
    found = LogMel().extract(clip(tmp_path / "a.wav", tone(1, RATE, hz=hertz(edges[band + 1]))))
    assert found.values[10:-10].mean(axis=0).argmax() == band


def test_ten_times_the_amplitude_is_twenty_decibels(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.01, RATE)
    quiet = LogMel().extract(clip(tmp_path / "a.wav", samples)).values
    loud = LogMel().extract(clip(tmp_path / "b.wav", 10 * samples)).values
    np.testing.assert_allclose(loud - quiet, 20, atol=0.01)


def test_silence_lies_on_the_floor(tmp_path: Path) -> None:
    found = LogMel().extract(clip(tmp_path / "a.wav", np.zeros(RATE)))
    assert (found.values == -100).all()


@pytest.mark.parametrize("samples", [1, 256, 512])
def test_less_than_half_a_window_is_too_short(tmp_path: Path, samples: int) -> None:
    with pytest.raises(TooShortError, match=f"^{samples} samples; one window is 1024$"):
        LogMel().extract(clip(tmp_path / "a.wav", tone(1, RATE)[:samples]))


def test_a_part_of_a_clip_has_the_times_of_the_clip(tmp_path: Path) -> None:
    whole = clip(tmp_path / "a.wav", tone(2, RATE))
    part = LogMel().extract(Clip("a", audio=whole.audio, start=0.5, end=1.5))
    assert len(part.values) == RATE // 256 + 1
    assert part.intervals[0, 0] == 0.5


def test_late_sound_has_late_rows(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 25, sound=[(0.5, tone(1, RATE))], sound_codec="flac")
    assert LogMel().extract(Clip("a", video=path)).intervals[0, 0] == pytest.approx(0.5, abs=0.001)


def test_the_settings_of_vaer_give_its_shape(tmp_path: Path) -> None:
    """SYSTEMS 6.2: 144,000 samples at 48 kHz are 282 rows of 128 bands."""
    vaer = LogMel(rate=48000, n_fft=1024, hop=512, bands=128, low=50, high=24000)
    assert vaer.extract(clip(tmp_path / "a.wav", tone(3, 48000), 48000)).values.shape == (282, 128)


def test_the_filters_stay_behind_when_sent_to_another_process(tmp_path: Path) -> None:
    vaer = LogMel(rate=48000, n_fft=4096, hop=512, bands=128)
    found = vaer.extract(clip(tmp_path / "a.wav", tone(1, 48000), 48000))
    sent = pickle.dumps(vaer)  # the filters would take two megabytes
    assert len(sent) < 10_000
    again = pickle.loads(sent).extract(clip(tmp_path / "a.wav", tone(1, 48000), 48000))
    np.testing.assert_array_equal(again.values, found.values)


@pytest.mark.parametrize(
    "options",
    [
        {"hop": 0},
        {"hop": 2000},
        {"low": -1.0},
        {"low": 9000.0},
        {"high": 9000.0},
        {"bands": 0},
        {"rate": 0},
        {"n_fft": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(AffectstackError, match=r"^logmel: .*expected"):
        LogMel(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "odd"), [("rate", 11025), ("n_fft", 1025)])
def test_bands_of_an_odd_rate_or_window_are_not_taken_for_those_of_old_stores(option: str, odd: int) -> None:
    """Their frequencies were rounded there; all others are as they were."""
    assert LogMel(**{option: odd}).identity()["frequencies"] == "not rounded"  # type: ignore[arg-type]
    assert "frequencies" not in LogMel(**{option: odd - 1}).identity()  # type: ignore[arg-type]
