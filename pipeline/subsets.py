"""What a fusion is worth when sources are missing, and what each of them changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline import stacking
from pipeline.evaluation import Run, score_folds
from pipeline.scoring import Scores
from pipeline.stacking import FusedFold

_EVERY = 8  # sources; of more, only small and nearly whole subsets are looked at
_FEW = 2  # sources that a small subset has, or that a nearly whole one lacks


@dataclass(frozen=True)
class Subset:
    """The fusion of some of the sources, trained for just these.

    Attributes:
        sources: Which.
        scores: How well it does, on the clips that have any of them.
        uniform: Accuracy, mean of folds, of the fusion of all sources with equal posteriors for every class
            in place of those that are missing; None where no clip has them all, or raw values are fused.
        changed: Clips that all sources together decide otherwise.
        lost: Of these, those that all sources together have right and these have wrong.
        gained: Of these, those that all sources together have wrong and these have right.
    """

    sources: tuple[str, ...]
    scores: Scores
    uniform: float | None
    changed: int
    lost: int
    gained: int


def subsets_of(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the subsets to look at, the largest first, as positions.

    All of them, but for more than 8 sources only those that have, or lack, at most two.
    """
    count = len(names)
    sizes = [n for n in range(count, 0, -1) if count <= _EVERY or n <= _FEW or n >= count - _FEW]
    return [subset for n in sizes for subset in combinations(range(count), n)]


def measure(run: Run, subsets: Sequence[tuple[int, ...]]) -> Iterator[Subset]:
    """Fuse some of the sources, as if the others were not there, and compare with all of them."""
    names, whole = list(run.sources), _decisions(run.folds)
    for subset in subsets:
        rows = [fold.of(subset) for fold in run.rows]
        all_of_them = len(subset) == len(names)
        folds = run.folds if all_of_them else stacking.fuse_rows(rows, run.fuser, run.protocol)
        scores, decisions = score_folds(folds, run.protocol), _decisions(folds)
        changed = [clip for clip, decided in decisions.items() if decided != whole[clip]]
        yield Subset(
            sources=tuple(names[s] for s in subset),
            scores=scores,
            uniform=_uniform(run, subset),
            changed=len(changed),
            lost=sum(run.fusion.right[clip] and not scores.right[clip] for clip in changed),
            gained=sum(scores.right[clip] and not run.fusion.right[clip] for clip in changed),
        )


def _decisions(folds: Sequence[FusedFold]) -> dict[str, int]:
    """Return the class that each clip was given, for clips that have any source."""
    return {
        clip: int(row.argmax())
        for fold in folds
        for clip, row in zip(fold.clip_ids, fold.fused, strict=True)
        if not np.isnan(row[0])
    }


def _uniform(run: Run, subset: Sequence[int]) -> float | None:
    """Return the accuracy of the whole fusion when the other sources say nothing."""
    accuracies = []
    for fold in run.folds:
        if fold.fitted is None or fold.fitted.raw:
            return None
        P = np.full_like(fold.sources, 1 / len(run.classes))
        there = ~np.isnan(fold.sources)
        P[:, subset] = np.where(there, fold.sources, P)[:, subset]
        decided = fold.fitted.predict_proba(P).argmax(axis=1)
        truth = [run.classes.index(label) for label in run.protocol.labels.loc[fold.clip_ids]]
        accuracies.append(float((decided == truth).mean()))
    return float(np.mean(accuracies))
