"""What may be wrong with a manifest, told by line, column and value."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from affectstack import AffectstackError

_SHOWN = 10


class ManifestError(AffectstackError):
    """A manifest that cannot be used; lists up to ten rows with column and value."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a cell.

    Attributes:
        line: Of the file.
        column: Its name.
        value: What stands there.
        text: What is wrong with it, as it follows on the value in a sentence.
    """

    line: int
    column: str
    value: object
    text: str

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return f"  line {self.line}, column {self.column!r}: {shown} {self.text}"


def disagreements(frame: pd.DataFrame, column: str, lines: Sequence[int]) -> list[Problem]:
    """Return where views of one take disagree on what belongs to the take."""
    first: dict[str, Any] = {}
    return [
        Problem(line, column, value, f"differs from another view of clip {clip}")
        for line, clip, value in zip(lines, frame["clip_id"], frame[column], strict=True)
        if first.setdefault(clip, value) != value and not (pd.isna(value) and pd.isna(first[clip]))
    ]


def twins(frame: pd.DataFrame, column: str, lines: Sequence[int]) -> Iterator[Problem]:
    """Yield names that differ in case or Unicode form alone: one name to people and other file systems."""
    seen: dict[str, str] = {}
    for line, name in zip(lines, frame[column], strict=True):
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            yield Problem(line, column, name, f"differs from {other!r} only in case or Unicode form")


def raise_if(problems: Sequence[Problem], source: str) -> None:
    """Refuse a table that has problems, showing the first ten.

    Raises:
        ManifestError: If there is any.
    """
    if not problems:
        return
    lines = [str(p) for p in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  … and {len(problems) - _SHOWN} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise ManifestError("\n".join([f"{source}: {count}; nothing was started", *lines]))
