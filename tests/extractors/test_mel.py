"""Mel bands that log-mel and cepstra share; their numbers are held where those are tested."""

import pickle

import numpy as np
import pytest
from clip_makers import tone

from affectstack import AffectstackError
from extractors.mel import MelBands, mel_bands


@pytest.mark.parametrize(("rate", "n_fft"), [(16000, 512), (11025, 512), (16000, 511), (11025, 511)])
def test_bands_lie_where_they_should_at_any_rate(rate: int, n_fft: int) -> None:
    """Slaney's scale is linear below 1 kHz: so many triangles of 200 Hz, each of the area 1 Hz."""
    filters = mel_bands("x", rate, n_fft, 128, 8, 100.0, 1000.0)._filters
    hertz = np.arange(n_fft // 2 + 1) * rate / n_fft
    for band in range(8):
        distance = np.abs(hertz - (200 + 100 * band))
        np.testing.assert_allclose(filters[:, band], np.maximum(0, 1 - distance / 100) / 100, atol=1e-9)


def test_a_sound_is_preceded_by_its_reflection_or_by_nothing() -> None:
    """The reflection of a cosine goes on with it; without, half of the first frame is missing."""
    bands = mel_bands("x", 16000, 1024, 256, 64, 0.0, None)
    samples = np.cos(2 * np.pi * 500 * np.arange(16000) / 16000).astype(np.float32)
    reflected, alone = (bands.decibels(samples, e).max(axis=1) for e in ("reflect", "constant"))
    assert reflected[0] == pytest.approx(reflected[20], abs=0.1)
    assert alone[20] == pytest.approx(reflected[20], abs=1e-6)
    assert 3 < alone[20] - alone[0] < 6.1


def test_no_value_lies_further_below_the_loudest_than_asked_for() -> None:
    bands = mel_bands("x", 16000, 1024, 256, 64, 0.0, None)
    samples = np.concatenate([tone(1, 16000), np.zeros(16000, np.float32)])
    free, held = bands.decibels(samples, "constant"), bands.decibels(samples, "constant", 30)
    assert free.min() == -100
    np.testing.assert_array_equal(held, np.maximum(free, free.max() - 30))


def test_rows_lie_around_their_hop_from_the_start_on() -> None:
    bands = MelBands(1000, 20, 10, 4, 0.0, 500.0)
    np.testing.assert_allclose(bands.intervals(3, 2.0), [[2.0, 2.005], [2.005, 2.015], [2.015, 2.025]])


def test_the_filters_stay_behind_when_sent_to_another_process() -> None:
    bands = mel_bands("x", 48000, 4096, 512, 128, 0.0, None)
    before = bands._filters
    sent = pickle.dumps(bands)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)._filters, before)


def test_every_option_is_in_the_identity() -> None:
    options = {"rate": 8000, "n_fft": 256, "hop": 64, "bands": 20, "low": 10.0, "high": 3000.0}
    assert MelBands(**options).identity().items() >= options.items()  # type: ignore[arg-type]


def test_who_asked_for_what_makes_no_sense_is_named() -> None:
    with pytest.raises(AffectstackError, match=r"^x: rate 8000, .* 0 to 5000 Hz; expected"):
        mel_bands("x", 8000, 256, 64, 20, 0.0, 5000.0)
