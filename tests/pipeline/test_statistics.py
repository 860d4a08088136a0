import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pipeline.statistics import binomial_half_width, calibration, holm, mcnemar, subject_interval


@pytest.mark.parametrize(("share", "width"), [(0.8182, 1.99), (0.6213, 2.51), (0.1333, 1.76)])
def test_the_published_intervals(share: float, width: float) -> None:
    assert round(100 * binomial_half_width(share, 1440), 2) == width


@pytest.mark.parametrize(
    ("only", "other", "p"),
    [(97, 28, 4.2e-10), (37, 18, 0.01445), (66, 16, 2.3e-8), (176, 148, 0.1335), (0, 0, 1.0), (5, 5, 1.0)],
)
def test_exact_mcnemar(only: int, other: int, p: float) -> None:
    """SYSTEMS 2.10, and the edges."""
    first = np.array([True] * only + [False] * other + [True] * 9)
    second = np.array([False] * only + [True] * other + [True] * 9)
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only) == (only, other)
    assert found.p == pytest.approx(p, rel=0.03)
    assert found.p == pytest.approx(min(1, 2 * binom.cdf(min(only, other), only + other, 0.5)) if only else 1)


def test_calibration_by_hand() -> None:
    P = np.array([[0.9, 0.1], [0.9, 0.1], [0.35, 0.65], [0.5, 0.5]])
    found = calibration(P, np.array([0, 1, 1, 0]))
    assert found.nll == pytest.approx(-np.log([0.9, 0.1, 0.65, 0.5]).mean())
    assert found.brier == pytest.approx((0.02 + 1.62 + 0.245 + 0.5) / 4)
    # bins: two clips at 0.9, one right; one at 0.65, right; one at 0.5, right
    assert found.ece == pytest.approx((abs(1 - 1.8) + 0.35 + 0.5) / 4)
    assert found.confidence == pytest.approx((1.8 + 0.65 + 0.5) / 4)


def test_certainty_belongs_to_the_last_bin_and_certain_errors_stay_finite() -> None:
    found = calibration(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert found.ece == pytest.approx(0.5)
    assert np.isfinite(found.nll)


def test_an_interval_over_subjects_is_wider_than_over_clips_that_agree() -> None:
    values = np.repeat([1.0, 0.0] * 6, 100)  # whole subjects are right or wrong
    low, high = subject_interval(values, np.repeat(np.arange(12).astype(str), 100).tolist())
    assert low < 0.35
    assert high > 0.65
    by_clip = subject_interval(values, np.arange(1200).astype(str).tolist())
    assert by_clip[1] - by_clip[0] < 0.07


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=40))
def test_an_interval_holds_only_what_can_be(clips: list[tuple[str, bool]]) -> None:
    values = np.array([float(right) for _, right in clips])
    low, high = subject_interval(values, [s for s, _ in clips])
    assert values.min() <= low <= high <= values.max()


def test_the_same_numbers_come_again() -> None:
    values, owners = np.random.default_rng(0).random(50), [f"s{i % 7}" for i in range(50)]
    assert subject_interval(values, owners) == subject_interval(values, owners)


def test_holm_by_hand() -> None:
    """Holm 1979: 0.01 * 4, then 0.02 * 3, 0.03 * 2 and 0.2 * 1, none below one before it, none above 1."""
    assert holm([0.02, 0.2, 0.01, 0.03]) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([0.04]) == [0.04]
