"""Subject-wise folds: published splits, seeded partitions, and the folds inside them."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from affectstack import did_you_mean
from manifests.fold_columns import numbered_parts, sides_of
from manifests.manifest import Manifest, ManifestError
from manifests.published import PUBLISHED, Published

_NAMED = (*PUBLISHED, "loso")
_INNER = 4


@dataclass(frozen=True)
class Fold:
    """One outer fold.

    Attributes:
        index: Its number, from 0.
        test: The held-out subjects.
        train: All the others.
        inner: Disjoint parts of `train`; inner fold j holds out `inner[j]`.
    """

    index: int
    test: frozenset[str]
    train: frozenset[str]
    inner: tuple[frozenset[str], ...]


class Folds(Sequence[Fold]):
    """Outer folds with their inner folds, proven disjoint by subject.

    Args:
        folds: The outer folds.
        name: What the experiment calls the split.

    Raises:
        ManifestError: If a subject stands on two sides of a split.
    """

    def __init__(self, folds: Sequence[Fold], name: str) -> None:
        self.name = name
        self._folds = tuple(folds)
        tested: dict[str, int] = {}
        for position, fold in enumerate(self._folds):
            if fold.index != position:
                raise ManifestError(f"folds: fold {position} is numbered {fold.index}")
            _refuse_overlap(fold.test & fold.train, f"fold {fold.index}: both test and train")
            for subject in fold.test:
                if tested.setdefault(subject, fold.index) != fold.index:
                    _refuse_overlap({subject}, f"test of fold {tested[subject]} and {fold.index}")
            held: set[str] = set()
            for j, part in enumerate(fold.inner):
                _refuse_overlap(part & held, f"fold {fold.index}: two inner folds")
                _refuse_overlap(part - fold.train, f"inner fold {j} outside fold {fold.index}")
                held |= part

    def __len__(self) -> int:
        return len(self._folds)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # Sequence's two overloads
        return self._folds[index]


def make_folds(spec: str | Mapping[str, object], manifest: Manifest, inner: int = _INNER) -> Folds:
    """Build the folds that an experiment asks for.

    Args:
        spec: `"loso"`, the name of a published split (see `PUBLISHED`), `{"by": "subject", "k": 5,
            "seed": 0}`, or the name of a manifest column. That numbers the held-out fold of each row, or
            says train, development or test in every row: one fold.
        manifest: The clips; their subjects are what is split.
        inner: How many inner folds to make inside every training part. A split with development subjects
            brings its own: these are the one inner fold that is held out.

    Returns:
        The folds. Subjects that never are test subjects are training subjects in every fold.

    Raises:
        ManifestError: If the split is unknown, does not fit the subjects, or a subject overlaps.
    """
    clips = Counter(map(str, manifest.subjects()))
    if isinstance(spec, Mapping):
        k, seed = _seeded_options(spec)
        parts = _partition(clips, k, seed)
        return _with_inner(parts, clips, inner, f"{k} folds by subject, seed {seed}")
    if spec == "loso":
        parts = [frozenset({s}) for s in sorted(clips)]
        _need_subjects(len(parts), 2, "leave-one-subject-out")
        return _with_inner(parts, clips, inner, "leave-one-subject-out")
    if spec in PUBLISHED:
        return _published(clips, spec, PUBLISHED[spec], inner)
    if spec in manifest.frame:
        name = f"column {spec!r}"
        sides = sides_of(manifest, spec)
        if sides is None:
            return _with_inner(numbered_parts(manifest, spec), clips, inner, name)
        return _single(sides.test, sides.development, clips, name)
    raise ManifestError(
        f"folds: unknown split {spec!r}{did_you_mean(spec, [*_NAMED, *manifest.frame.columns])}"
    )


def _with_inner(parts: Sequence[frozenset[str]], clips: Mapping[str, int], inner: int, name: str) -> Folds:
    if len(parts) < 2:
        raise ManifestError(f"folds: {name} gives fewer than 2 folds for these subjects")
    if inner < 2:
        raise ManifestError(f"folds: inner_folds is {inner}; expected at least 2")
    folds = []
    for k, test in enumerate(parts):
        train = frozenset(clips) - test
        j = min(inner, len(train))
        if j < 2:
            raise ManifestError(
                f"folds: fold {k} would train on subjects {sorted(train)}; its inner folds need at least 2. "
                "Use fewer folds or more subjects"
            )
        inside = _partition({s: clips[s] for s in train}, j, seed=0)
        folds.append(Fold(k, test, train, tuple(inside)))
    return Folds(folds, name)


def _partition(clips: Mapping[str, int], k: int, seed: int) -> list[frozenset[str]]:
    """Deal subjects into k parts of about equally many clips; the order depends on the seed alone."""
    _need_subjects(len(clips), k, f"{k} folds")

    def draw(subject: str) -> str:
        return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()

    parts: list[set[str]] = [set() for _ in range(k)]
    for subject in sorted(clips, key=draw):
        smallest = min(range(k), key=lambda i: (sum(clips[s] for s in parts[i]), i))
        parts[smallest].add(subject)
    return [frozenset(p) for p in parts]


def _seeded_options(spec: Mapping[str, object]) -> tuple[int, int]:
    unknown = [key for key in spec if key not in ("by", "k", "seed")]
    if unknown:
        raise ManifestError(
            f"folds: unknown key {unknown[0]!r}{did_you_mean(str(unknown[0]), ['by', 'k', 'seed'])}"
        )
    if spec.get("by", "subject") != "subject":
        raise ManifestError(f"folds: by: {spec['by']!r} is not supported; folds are made by subject")
    k, seed = spec.get("k", 5), spec.get("seed", 0)
    if not isinstance(k, int) or not isinstance(seed, int) or k < 2:
        raise ManifestError(f"folds: k: {k!r}, seed: {seed!r}; expected k of 2 or more and a number")
    return k, seed


def _need_subjects(found: int, expected: int, what: str) -> None:
    if found < expected:
        raise ManifestError(f"folds: {what} need at least {expected} subjects, the manifest has {found}")


def _published(clips: Mapping[str, int], name: str, split: Published, inner: int) -> Folds:
    if not split.development:
        return _with_inner([p for p in _numbered(clips, name, split, split.tests) if p], clips, inner, name)
    test, development = _numbered(clips, name, split, (*split.tests, split.development))
    if not test or not development or frozenset(clips) - test == development:
        raise ManifestError(
            f"folds: split {name!r} needs its test actors {_spaced(split.tests[0])}, its validation actors "
            f"{_spaced(split.development)} and others to train on; the manifest has "
            f"{', '.join(sorted(clips))}"
        )
    return _single(test, development, clips, name)


def _numbered(
    clips: Mapping[str, int], name: str, split: Published, parts: Sequence[Sequence[int]]
) -> list[frozenset[str]]:
    """Match the subjects of a manifest with the actor numbers of a published split."""
    actors = {s: int(s) for s in clips if s.isdecimal()}
    strangers = sorted(s for s in clips if actors.get(s) not in split.actors)
    if strangers:
        raise ManifestError(
            f"folds: split {name!r} is made of {split.corpus} actors {split.actors[0]} to "
            f"{split.actors[-1]}; the manifest has subject {', '.join(map(repr, strangers[:5]))}. "
            "Use folds: {by: subject, k: 5, seed: 0}"
        )
    return [frozenset(s for s, actor in actors.items() if actor in part) for part in parts]


def _single(test: frozenset[str], development: frozenset[str], clips: Mapping[str, int], name: str) -> Folds:
    """Make the one fold of a split with development subjects, who train where nothing is chosen."""
    return Folds([Fold(0, test, frozenset(clips) - test, (development,))], name)


def _spaced(actors: Sequence[int]) -> str:
    return " ".join(map(str, actors))


def _refuse_overlap(subjects: set[str] | frozenset[str], where: str) -> None:
    if subjects:
        raise ManifestError(
            f"folds: subject {', '.join(map(repr, sorted(subjects)))} is on two sides ({where}); "
            "a subject's clips belong to one fold"
        )
