from collections.abc import Sequence

import pandas as pd
import pytest

from manifests import Manifest, ManifestError
from manifests.fold_columns import Sides, numbered_parts, side_of, sides_of


def of(*rows: tuple[str, str]) -> Manifest:
    """A manifest of clips, each with its subject and what the column says."""
    subjects, values = zip(*rows, strict=True)
    clips = [f"c{i}" for i in range(len(rows))]
    return Manifest(pd.DataFrame({"clip_id": clips, "subject": subjects, "set": values}), source="m.csv")


def refusal(*rows: tuple[str, str]) -> str:
    with pytest.raises(ManifestError) as caught:
        sides_of(of(*rows), "set")
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "side"),
    [
        (["train", "Train", "TRAIN"], "train"),
        (["development", "Development", "dev", "val", "Val", "validation"], "development"),
        (["test", "Test", " test "], "test"),
        (["0", "", "training set", "left"], None),
    ],
)
def test_words_of_a_side_are_known_in_any_case(words: Sequence[str], side: str | None) -> None:
    assert {side_of(word) for word in words} == {side}


def test_every_subject_stands_on_the_side_that_its_rows_name() -> None:
    manifest = of(("a", "Train"), ("a", "train"), ("b", "Test"), ("c", "val"), ("d", "dev"))
    assert sides_of(manifest, "set") == Sides(frozenset({"c", "d"}), frozenset({"b"}))


def test_a_column_without_such_words_names_no_sides() -> None:
    assert sides_of(of(("a", "0"), ("b", "1"), ("c", "")), "set") is None


def test_words_beside_numbers_are_refused() -> None:
    assert refusal(("a", "train"), ("b", "1"), ("c", "test")).startswith(
        "m.csv: column 'set' holds '1' beside train, development or test; write one of these three"
    )


def test_a_row_without_a_side_is_refused() -> None:
    rows = [("a", "train"), ("b", "test"), ("c", "dev"), ("c", ""), ("d", "")]
    assert refusal(*rows).startswith("m.csv: column 'set' is empty in 2 of 5 rows (subject 'c', 'd'); write")


def test_a_subject_on_two_sides_is_refused_by_name() -> None:
    rows = [("a", "train"), ("b", "test"), ("c", "dev"), ("a", "test")]
    assert refusal(*rows) == (
        "m.csv: column 'set' puts subject 'a' into sides 'test' and 'train'; every subject stands on one side"
    )


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (["train", "dev", "dev"], "no subject for test;"),
        (["train", "test", "test"], "no subject for development;"),
        (["dev", "test", "test"], "no subject for train;"),
        (["train", "train", "train"], "no subject for development and none for test;"),
    ],
)
def test_a_side_without_subjects_is_refused(values: Sequence[str], missing: str) -> None:
    message = refusal(*zip("abc", values, strict=True))
    assert missing in message
    assert "Use folds: {by: subject, k: 5, seed: 0}" in message


def test_numbers_are_ordered_as_numbers_and_rows_without_one_are_never_held_out() -> None:
    manifest = of(("a", "10"), ("b", "9"), ("c", ""), ("d", "10"))
    assert numbered_parts(manifest, "set") == [frozenset({"b"}), frozenset({"a", "d"})]
