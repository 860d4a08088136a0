"""The fake extractor: the same numbers everywhere, and faults to order."""

import numpy as np
import pytest

from extractors.contract import BadFeaturesError, Clip, DecodeError, check_features
from extractors.fake import Fake


def test_features_keep_the_contract() -> None:
    fake = Fake(dim=5, rows=4)
    found = fake.extract(Clip("a"))
    check_features(found, fake.dim)
    assert found.values.shape == (4, 5)
    assert found.intervals.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]


def test_numbers_are_the_same_in_every_process_and_release() -> None:
    found = Fake(dim=2, rows=1).extract(Clip("01-05-01-01-01-16"))
    np.testing.assert_allclose(found.values, [[0.23223306, -1.6083574]], rtol=1e-6)


@pytest.mark.parametrize("other", [Clip("b"), Clip("a", view="left")])
def test_other_clips_and_views_have_other_numbers(other: Clip) -> None:
    assert (Fake().extract(Clip("a")).values != Fake().extract(other).values).all()


def test_the_seed_changes_every_number() -> None:
    assert (Fake(seed=1).extract(Clip("a")).values != Fake().extract(Clip("a")).values).all()


def test_it_admits_that_it_means_nothing() -> None:
    assert Fake().untrained
    assert Fake().identity()["fake"] is True


def test_a_fault_is_an_error_on_the_clips_named() -> None:
    fake = Fake(fault="error", on=["bad"])
    with pytest.raises(DecodeError, match="asked for"):
        fake.extract(Clip("bad"))
    np.testing.assert_array_equal(fake.extract(Clip("good")).values, Fake().extract(Clip("good")).values)


@pytest.mark.parametrize("fault", ["nan", "shape"])
def test_bad_features_are_caught_at_the_boundary(fault: str) -> None:
    fake = Fake(fault=fault, on=["bad"])  # type: ignore[arg-type]
    with pytest.raises(BadFeaturesError):
        check_features(fake.extract(Clip("bad")), fake.dim)
    check_features(fake.extract(Clip("good")), fake.dim)


@pytest.mark.parametrize("modality", ["video", "audio", "au", "face", "text"])
def test_it_stands_in_for_any_modality(modality: str) -> None:
    assert Fake(modality=modality).modality == modality  # type: ignore[arg-type]
    assert Fake().modality == "video"
