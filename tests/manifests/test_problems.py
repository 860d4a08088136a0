import pandas as pd
import pytest

from manifests.problems import ManifestError, Problem, disagreements, raise_if, twins


def test_no_problem_is_no_error() -> None:
    raise_if([], "m.csv")


def test_ten_problems_are_shown_and_the_others_counted() -> None:
    with pytest.raises(ManifestError) as caught:
        raise_if([Problem(i, "arousal", "x", "is odd") for i in range(2, 14)], "m.csv")
    first, *shown, last = str(caught.value).splitlines()
    assert first == "m.csv: 12 problems; nothing was started"
    assert shown == [f"  line {i}, column 'arousal': 'x' is odd" for i in range(2, 12)]
    assert last == "  … and 2 more"


def test_long_values_are_cut() -> None:
    text = str(Problem(2, "label", "x" * 200, "is odd"))
    assert text.endswith("x... is odd")
    assert len(text) < 120


def test_views_of_one_clip_agree_on_numbers_and_on_their_absence() -> None:
    frame = pd.DataFrame({"clip_id": ["a", "a", "b", "b", "c", "c"]})
    frame["arousal"] = [0.5, 0.5, None, None, 1.0, None]
    (found,) = disagreements(frame, "arousal", range(2, 8))
    assert (found.line, found.text) == (7, "differs from another view of clip c")


def test_names_that_are_one_to_people_are_twins() -> None:
    frame = pd.DataFrame({"subject": ["Ann", "ann", "Bob", "Bob"]})
    (found,) = twins(frame, "subject", range(2, 6))
    assert (found.line, found.value) == (3, "ann")
