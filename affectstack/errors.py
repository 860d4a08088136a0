"""Errors that a user can act on."""

from collections.abc import Iterable
from difflib import get_close_matches


class AffectstackError(Exception):
    """A problem with the input or the configuration, not with the program.

    The message says what was found, what was expected and what to do next. Commands print it as one
    readable line; every other exception is a bug and keeps its traceback.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to an error message.

    Args:
        word: The unknown name as it was written.
        known: The names that exist.

    Returns:
        `" (did you mean 'x'?)"` when one known name is close, otherwise the list of known names.
    """
    names = sorted(known)
    close = get_close_matches(word, names, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(names) or 'none'})"
