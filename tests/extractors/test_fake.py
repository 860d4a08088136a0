"""The fake extractor: the same numbers everywhere, and faults to order."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import extractors
from affectstack import AffectstackError
from extractors.contract import BadFeaturesError, Clip, DecodeError, TooShortError, check_features
from extractors.fake import Fake, Fault


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


@pytest.mark.parametrize("fault", ["nan", "shape", "type"])
def test_bad_features_are_caught_at_the_boundary(fault: str) -> None:
    fake = Fake(fault=fault, on=["bad"])  # type: ignore[arg-type]
    with pytest.raises(BadFeaturesError):
        check_features(fake.extract(Clip("bad")), fake.dim)
    check_features(fake.extract(Clip("good")), fake.dim)


@pytest.mark.parametrize(
    ("fault", "error"), [("empty", TooShortError), ("bug", KeyError), ("memory", MemoryError)]
)
def test_other_faults_are_what_they_are_called(fault: Fault, error: type[Exception]) -> None:
    fake = Fake(fault=fault, on=["bad"])
    with pytest.raises(error):
        check_features(fake.extract(Clip("bad")), fake.dim)
    check_features(fake.extract(Clip("good")), fake.dim)


def test_noise_is_well_formed_and_never_the_same() -> None:
    fake = Fake(fault="noise", on=["bad"])
    once, again = fake.extract(Clip("bad")), fake.extract(Clip("bad"))
    check_features(once, fake.dim)
    assert (once.values != again.values).all()


def test_a_crash_ends_the_process_and_a_hang_does_not_end() -> None:
    code = (
        "from extractors import Clip; from extractors.fake import Fake; "
        "Fake(fault={!r}, on=['a']).extract(Clip('a'))"
    )
    root = Path(extractors.__file__).parents[1]
    crashed = subprocess.run([sys.executable, "-c", code.format("crash")], cwd=root, timeout=60)
    assert crashed.returncode == -signal.SIGSEGV
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", code.format("hang")], cwd=root, timeout=3)


def test_faults_are_no_part_of_its_identity() -> None:
    other = Fake(fault="nan", on=["a"], worker=True, seconds=1.0, shard=2, modality="audio", trained_on=["s"])
    assert other.identity() == Fake().identity()
    assert (other.reads_media, other.clips_per_shard) == (True, 2)


@pytest.mark.parametrize("modality", ["video", "audio", "au", "face", "text"])
def test_it_stands_in_for_any_modality(modality: str) -> None:
    assert Fake(modality=modality).modality == modality  # type: ignore[arg-type]
    assert Fake().modality == "video"


@pytest.mark.parametrize("shard", [0, -1])
def test_a_shard_holds_at_least_one_clip(shard: int) -> None:
    with pytest.raises(AffectstackError, match=f"^fake: shard {shard}; expected at least 1 clip$"):
        Fake(shard=shard)
