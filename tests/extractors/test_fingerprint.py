from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sounds import RATE, voice, write_copy, write_sound

from extractors.contract import Clip, TooShortError, check_features
from extractors.fingerprint import BITS, SoundFingerprint


def bits_that_differ(one: Path, other: Path, extractor: SoundFingerprint, shift: int = 0) -> float:
    """Compare where both are loud; row t of the second is laid on row t + shift of the first."""
    a, b = (extractor.extract(Clip("x", audio=path)) for path in (one, other))
    rows = min(len(a.values) - shift, len(b.values))
    both = a.valid[shift : shift + rows] & b.valid[:rows]
    assert both.sum() > 100
    return float((a.values[shift : shift + rows] != b.values[:rows])[both].mean())


def test_a_row_of_32_signs_every_11_6_ms(tmp_path: Path) -> None:
    extractor = SoundFingerprint()
    found = extractor.extract(Clip("x", audio=write_sound(tmp_path / "a.wav", voice(1, 3.0))))
    check_features(found, BITS)
    assert set(np.unique(found.values)) == {-1, 1}
    samples = round(3.6 * 5512)
    assert len(found.values) == (samples - 2048) // 64
    np.testing.assert_allclose(np.diff(found.intervals[:, 0]), 64 / 5512)
    np.testing.assert_allclose(found.intervals[:, 1] - found.intervals[:, 0], 2048 / 5512)


def test_bits_are_those_of_the_paper(tmp_path: Path) -> None:
    """Haitsma and Kalker 2002, equation 1, with loops over bands and frames in place of matrices."""
    path = write_sound(tmp_path / "a.wav", voice(2, 1.0), 5512)  # at its own rate, nothing is resampled
    found = SoundFingerprint().extract(Clip("x", audio=path))
    import soundfile

    samples = soundfile.read(path)[0]
    edges = 300 * (2000 / 300) ** (np.arange(34) / 33)
    hz = np.arange(1025) * 5512 / 2048
    rows = []
    for begin in range(0, len(samples) - 2048 + 1, 64):
        power = np.abs(np.fft.rfft(samples[begin : begin + 2048] * np.hanning(2048))) ** 2
        rows.append([power[(hz >= edges[m]) & (hz < edges[m + 1])].sum() for m in range(33)])
    expected = [
        [now[m] - now[m + 1] - (last[m] - last[m + 1]) > 0 for m in range(32)] for last, now in pairwise(rows)
    ]
    loud = found.valid
    assert ((found.values > 0) == np.array(expected))[loud].mean() > 0.999  # float32 against float64


def test_copies_keep_their_bits_and_others_do_not(tmp_path: Path) -> None:
    extractor = SoundFingerprint()
    original = write_sound(tmp_path / "a.wav", voice(3))
    copy = write_copy(tmp_path / "a.mp4", voice(3))
    other = write_sound(tmp_path / "b.wav", voice(4))
    assert min(bits_that_differ(copy, original, extractor, shift) for shift in range(6)) < 0.1
    assert bits_that_differ(original, other, extractor) > 0.4


def test_a_delay_moves_the_rows(tmp_path: Path) -> None:
    extractor = SoundFingerprint()
    sound = voice(3)
    original = write_sound(tmp_path / "a.wav", sound)
    rows = 10
    ahead = write_sound(tmp_path / "b.wav", sound[round(rows * 64 / 5512 * RATE) :])
    assert bits_that_differ(original, ahead, extractor, shift=rows) < 0.05
    assert bits_that_differ(original, ahead, extractor) > 0.3


def test_quiet_and_silent_rows_are_not_valid(tmp_path: Path) -> None:
    extractor = SoundFingerprint()
    quiet = np.concatenate([voice(5, 1.0, 0.0), 1e-4 * voice(6, 2.0, 0.0)])
    found = extractor.extract(Clip("x", audio=write_sound(tmp_path / "a.wav", quiet)))
    starts = found.intervals[:, 0]
    assert found.valid[starts < 0.9].all()
    assert not found.valid[starts > 1.1].any()
    silent = extractor.extract(
        Clip("x", audio=write_sound(tmp_path / "b.wav", np.zeros(RATE * 2, np.float32)))
    )
    assert silent.silent
    assert not silent.valid.any()


def test_a_clip_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    short = write_sound(tmp_path / "a.wav", voice(1, 1.0)[: RATE // 3])
    with pytest.raises(TooShortError, match=r"0\.33 s of sound; a fingerprint needs more than 0\.37 s"):
        SoundFingerprint().extract(Clip("x", audio=short))


def test_a_piece_and_a_beginning_of_a_file(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", voice(7, 4.0))
    piece = SoundFingerprint().extract(Clip("x", audio=path, start=1.0, end=3.0))
    assert piece.intervals[0, 0] == pytest.approx(1.0, abs=0.02)
    assert piece.intervals[-1, 1] <= 3.0 + 1e-6
    first = SoundFingerprint(longest=2.0).extract(Clip("x", audio=path))
    assert first.intervals[-1, 1] <= 2.0 + 1e-6
