"""Splits that a column of the manifest says: a fold's number, or train, development and test."""

from collections.abc import Mapping
from dataclasses import dataclass

from manifests.manifest import Manifest, ManifestError

SIDES = ("train", "development", "test")
_WORDS = {**{side: side for side in SIDES}, **dict.fromkeys(("dev", "val", "validation"), "development")}
_SHOWN = 5


@dataclass(frozen=True)
class Sides:
    """The subjects of a single split; whoever is on neither of these sides trains.

    Attributes:
        development: Who chooses settings.
        test: Who is tested on.
    """

    development: frozenset[str]
    test: frozenset[str]


def side_of(word: str) -> str | None:
    """Return which of `SIDES` a word means (dev, val and validation are development), or None if none."""
    return _WORDS.get(word.strip().lower())


def sides_of(manifest: Manifest, column: str) -> Sides | None:
    """Read a column that says train, development or test in every row.

    Returns:
        The sides, or None if no row holds such a word.

    Raises:
        ManifestError: If some rows hold another value or none, a subject stands on two sides, or a side is
            empty.
    """
    values = manifest.frame[column].astype(str)
    where = f"{manifest.source}: column {column!r}"
    if not any(side_of(value) for value in values):
        return None
    others = sorted({value for value in values if value and not side_of(value)})
    if others:
        raise ManifestError(
            f"{where} holds {', '.join(map(repr, others[:_SHOWN]))} beside train, development or test; "
            "write one of these three in every row, or the number of a fold"
        )
    empty = manifest.frame["subject"][(values == "").to_numpy()]
    if len(empty):
        named = ", ".join(map(repr, sorted(set(empty))[:_SHOWN]))
        raise ManifestError(
            f"{where} is empty in {len(empty)} of {len(values)} rows (subject {named}); write train, "
            "development or test there, or take these clips out of the manifest"
        )
    groups = _subjects_by(manifest, {value: side_of(value) or "" for value in values}, column)
    _refuse_in_two(groups, f"{where} puts subject", "sides", "stands on one side")
    if missing := [side for side in SIDES if side not in groups]:
        raise ManifestError(
            f"{where} names no subject for {' and none for '.join(missing)}; a split of one fold needs "
            "train, development and test. Use folds: {by: subject, k: 5, seed: 0} where there is none"
        )
    return Sides(frozenset(groups["development"]), frozenset(groups["test"]))


def numbered_parts(manifest: Manifest, column: str) -> list[frozenset[str]]:
    """Read a column that names the held-out fold of each row; rows without a name are never held out.

    Returns:
        The subjects of each fold, in the order of their numbers.

    Raises:
        ManifestError: If a subject stands in two folds.
    """
    groups = _subjects_by(manifest, {}, column)
    groups.pop("", None)
    where = f"{manifest.source}: column {column!r} puts subject"
    _refuse_in_two(groups, where, "folds", "belongs to one fold")
    return [frozenset(groups[name]) for name in _ordered(groups)]


def _subjects_by(manifest: Manifest, meaning: Mapping[str, str], column: str) -> dict[str, set[str]]:
    """Return the subjects of each value, of every view: one that names another value is a mistake."""
    groups: dict[str, set[str]] = {}
    frame = manifest.frame
    for value, subject in zip(frame[column].astype(str), frame["subject"], strict=True):
        groups.setdefault(meaning.get(value, value), set()).add(subject)
    return groups


def _ordered(names: Mapping[str, object]) -> list[str]:
    return sorted(names, key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n))


def _refuse_in_two(groups: Mapping[str, set[str]], where: str, kind: str, rule: str) -> None:
    first: dict[str, str] = {}
    for name in _ordered(groups):
        for subject in sorted(groups[name]):
            if first.setdefault(subject, name) != name:
                raise ManifestError(
                    f"{where} {subject!r} into {kind} {first[subject]!r} and {name!r}; every subject {rule}"
                )
