"""What is refused of a clip's arrays, and how they are scaled."""

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from classifiers import HeadError
from classifiers.arrays import check_array, fit_scaler, scaled


@pytest.mark.parametrize(
    ("kind", "shape", "found"),
    [
        ("static", (3,), r"\[3\]; expected \[4\]"),
        ("static", (), r"\[\]; expected \[4\]"),
        ("static", (1, 4), r"\[1, 4\]; expected \[4\]"),
        ("sequence", (2, 3), r"\[2, 3\]; expected \[T, 4\] with T > 0"),
        ("sequence", (0, 4), r"\[0, 4\]; expected \[T, 4\] with T > 0"),
        ("sequence", (4,), r"\[4\]; expected \[T, 4\] with T > 0"),
        ("sequence", (1, 2, 4), r"\[1, 2, 4\]; expected \[T, 4\] with T > 0"),
    ],
)
def test_other_shapes_are_refused_with_what_was_expected(
    kind: Any, shape: tuple[int, ...], found: str
) -> None:
    with pytest.raises(HeadError, match=f"clip 7 has features of shape {found}"):
        check_array(np.zeros(shape), kind, 4, "clip 7")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("kind", "shape"), [("static", (4,)), ("sequence", (2, 4))])
def test_what_is_no_number_is_refused(kind: Any, shape: tuple[int, ...], value: float) -> None:
    x = np.zeros(shape)
    check_array(x, kind, 4, "clip 7")
    x[..., -1] = value
    with pytest.raises(HeadError, match="clip 7 has features that are NaN or infinite"):
        check_array(x, kind, 4, "clip 7")


def test_columns_are_scaled_over_the_frames_of_all_clips() -> None:
    rng = np.random.default_rng(0)
    clips = [rng.normal(5, 3, size=(t, 4)).astype(np.float32) for t in (3, 1, 8)]
    scaler = fit_scaler("standard", clips)
    expected = StandardScaler().fit(np.concatenate(clips))
    for x in clips:
        np.testing.assert_array_equal(scaled(scaler, x), expected.transform(x))


def test_vectors_are_scaled_as_the_rows_of_a_table() -> None:
    table = np.random.default_rng(0).normal(5, 3, size=(9, 4)).astype(np.float32)
    scaler = fit_scaler("minmax", list(table))
    rows = np.stack([scaled(scaler, x) for x in table])
    assert rows.shape == (9, 4)
    np.testing.assert_allclose(rows.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(rows.max(axis=0), 1, atol=1e-6)


def test_no_scaler_only_converts() -> None:
    x = np.arange(4.0)
    assert fit_scaler("none", [x]) is None
    assert scaled(None, x).dtype == np.float32
    np.testing.assert_array_equal(scaled(None, x), x)
