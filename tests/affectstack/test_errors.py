import pytest

from affectstack import did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("hapy", ["sad", "happy"], " (did you mean 'happy'?)"),
        ("zzz", ["sad", "happy"], " (known: happy, sad)"),
        ("zzz", [], " (known: none)"),
        ("", ["sad"], " (known: sad)"),
    ],
)
def test_suggestion_names_the_close_one_or_lists_all(word: str, known: list[str], said: str) -> None:
    assert did_you_mean(word, known) == said


def test_only_one_name_is_suggested_and_the_nearest() -> None:
    assert did_you_mean("surprise", ["surprised", "surprises", "sunrise"]).count("'") == 2
    assert "surprised" in did_you_mean("surprisd", ["surprised", "sunrise"])


def test_suggestion_does_not_depend_on_the_order_of_the_names() -> None:
    names = ["voice", "video", "visual"]
    assert did_you_mean("vidio", names) == did_you_mean("vidio", reversed(names))


def test_any_iterable_of_names_will_do() -> None:
    assert did_you_mean("zzz", iter({"a": 1, "b": 2})) == " (known: a, b)"
