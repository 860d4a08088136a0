"""Splits of the subjects: folds that are drawn, and folds that have a name."""

from collections.abc import Sequence
from dataclasses import dataclass

from manifests import PUBLISHED, Fold, Folds, Manifest, ManifestError, make_folds
from pipeline.options import ConfigError

# Seeds in a row that draw nothing new: of 100 equally likely partitions all were drawn by then.
_BARREN = 1000
_Partition = frozenset[frozenset[str]]


@dataclass(frozen=True)
class Split:
    """Folds to train and test on.

    Attributes:
        name: What it is called.
        folds: The outer folds.
        drawn: Whether it is one of the draws.
    """

    name: str
    folds: Folds
    drawn: bool


def draw_splits(
    manifest: Manifest, own: Folds, times: int, seed: int, k: int, inner: int, nested: bool
) -> list[Split]:
    """Return draws that differ from each other and from the experiment's own folds; fewer, if there are few.

    Args:
        manifest: The clips.
        own: The experiment's own folds.
        times: How many.
        seed: The first.
        k: Folds of a draw.
        inner: Inner folds of each.
        nested: Keep them; or else nothing learns from them.

    Raises:
        ConfigError: If all draws would be the same.
    """
    subjects = manifest.frame["subject"].nunique()
    if k >= subjects:
        raise ConfigError(f"{k} folds of {subjects} subjects are the same in every draw; give fewer with --k")
    drawn: list[Split] = []
    known, barren = {_partition(own)}, 0
    while len(drawn) < times and barren < _BARREN:
        folds = make_folds({"by": "subject", "k": k, "seed": seed}, manifest, inner)
        seed += 1
        barren += 1
        if (partition := _partition(folds)) not in known:
            known.add(partition)
            drawn.append(Split(folds.name, _prepared(folds, nested), drawn=True))
            barren = 0
    return drawn


def shortage(manifest: Manifest, own: Folds, k: int, drawn: int) -> str:
    """Return why there are not as many draws as were asked for."""
    subjects = manifest.frame["subject"].nunique()
    among = len(own) == k and own[0].test | own[0].train == frozenset().union(*(f.test for f in own))
    mine = ", one of which is the experiment's own" if among else ""
    return f"only {drawn + among} partitions of {subjects} subjects into {k} folds were found{mine}"


def folds_of_a_draw(own: Folds) -> int:
    """Return how many folds make test parts as large as the experiment's."""
    if len(own) > 1:
        return len(own)
    return max(2, round(len(own[0].test | own[0].train) / len(own[0].test)))


def named_splits(
    manifest: Manifest, own: Folds, wanted: Sequence[str] | None, inner: int, nested: bool
) -> list[Split]:
    """Return the experiment's own folds, and the splits that are to be placed beside them.

    Args:
        manifest: The clips.
        own: The experiment's own folds.
        wanted: Names; None is the published ones that fit the subjects.
        inner: Inner folds of each.
        nested: Keep them; or else nothing learns from them.

    Raises:
        ManifestError: If a split that is wanted does not fit the subjects.
    """
    found = {own.name: own}
    for name in PUBLISHED if wanted is None else wanted:
        try:
            folds = make_folds(name, manifest, inner)
        except ManifestError:
            if wanted is not None:
                raise
            continue  # made for other subjects
        found[folds.name] = folds
    return [Split(name, _prepared(folds, nested), drawn=False) for name, folds in found.items()]


def _prepared(folds: Folds, nested: bool) -> Folds:
    """Leave out the inner folds where nothing learns from them."""
    if nested:
        return folds
    return Folds([Fold(f.index, f.test, f.train, ()) for f in folds], folds.name)


def _partition(folds: Folds) -> _Partition:
    return frozenset(fold.test for fold in folds)
