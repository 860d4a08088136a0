"""Subject-wise folds: published splits, seeded partitions, and the folds inside them."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from affectstack import did_you_mean
from manifests.manifest import Manifest, ManifestError

# Held-out actors per fold. "mmer": Luna-Jimenez et al. 2022, five folds. "katerynach": Chumachenko
# et al. 2022, one test set with its own validation actors. Actors are 1-based, as in RAVDESS.
_MMER = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
_KATERYNACH_TEST = (5, 10, 16, 19)
_KATERYNACH_VALIDATION = (11, 13, 18, 22)
_NAMED = ("mmer", "katerynach", "loso")
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
        spec: `"mmer"`, `"katerynach"`, `"loso"`, the name of a manifest column that numbers the held-out
            fold of each row, or `{"by": "subject", "k": 5, "seed": 0}`.
        manifest: The clips; their subjects are what is split.
        inner: How many inner folds to make inside every training part. The katerynaCh split
            brings its own: the published validation actors.

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
    if spec == "mmer":
        parts = [p for p in _numbered(clips, _MMER, "mmer") if p]
        return _with_inner(parts, clips, inner, "mmer")
    if spec == "katerynach":
        return _katerynach(clips)
    if spec in manifest.frame:
        return _with_inner(_from_column(manifest, spec), clips, inner, f"column {spec!r}")
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


def _numbered(clips: Mapping[str, int], parts: Sequence[Sequence[int]], name: str) -> list[frozenset[str]]:
    """Match the subjects of a manifest with the actor numbers of a published split."""
    actors = {s: int(s) for s in clips if s.isdecimal()}
    known = set().union(*parts) if name == "mmer" else set(range(1, 25))
    strangers = sorted(s for s in clips if actors.get(s) not in known)
    if strangers:
        raise ManifestError(
            f"folds: split {name!r} is made of RAVDESS actors 1 to 24; the manifest has subject "
            f"{', '.join(map(repr, strangers[:5]))}. Use folds: {{by: subject, k: 5, seed: 0}}"
        )
    return [frozenset(s for s, actor in actors.items() if actor in part) for part in parts]


def _katerynach(clips: Mapping[str, int]) -> Folds:
    test, validation = _numbered(clips, (_KATERYNACH_TEST, _KATERYNACH_VALIDATION), "katerynach")
    train = frozenset(clips) - test
    if not test or not validation or train == validation:
        raise ManifestError(
            "folds: split 'katerynach' needs its test actors 5 10 16 19, its validation actors "
            f"11 13 18 22 and others to train on; the manifest has {', '.join(sorted(clips))}"
        )
    return Folds([Fold(0, test, train, (validation,))], "katerynach")


def _from_column(manifest: Manifest, column: str) -> list[frozenset[str]]:
    groups: dict[str, set[str]] = {}
    frame = manifest.frame  # every view: one that names another fold is a mistake
    for value, subject in zip(frame[column].astype(str), frame["subject"], strict=True):
        groups.setdefault(value, set()).add(subject)
    groups.pop("", None)
    both = _in_two(groups)
    if both:
        raise ManifestError(
            f"{manifest.source}: column {column!r} puts subject {both[0]!r} into folds "
            f"{both[1]!r} and {both[2]!r}; every subject belongs to one fold"
        )
    return [frozenset(groups[name]) for name in _ordered(groups)]


def _ordered(names: Mapping[str, object]) -> list[str]:
    return sorted(names, key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n))


def _in_two(groups: Mapping[str, set[str]]) -> tuple[str, str, str] | None:
    first: dict[str, str] = {}
    for name in _ordered(groups):
        for subject in sorted(groups[name]):
            if first.setdefault(subject, name) != name:
                return subject, first[subject], name
    return None


def _refuse_overlap(subjects: set[str] | frozenset[str], where: str) -> None:
    if subjects:
        raise ManifestError(
            f"folds: subject {', '.join(map(repr, sorted(subjects)))} is on two sides ({where}); "
            "a subject's clips belong to one fold"
        )
