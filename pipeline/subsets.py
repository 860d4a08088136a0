"""What a fusion is worth when sources are missing, and what each of them changes."""

import time
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
        whole: Accuracy, mean of folds, of all sources on the same clips.
        uniform: The same of the fusion of all sources with equal posteriors for every class in place of
            those that are missing; None where no clip has them all, or raw values are fused.
        changed: Clips that all sources together decide otherwise.
        lost: Of these, those that all sources together have right and these have wrong.
        gained: Of these, those that all sources together have wrong and these have right.
    """

    sources: tuple[str, ...]
    scores: Scores
    whole: float
    uniform: float | None
    changed: int
    lost: int
    gained: int


def subsets_of(names: Sequence[str], *, few: bool = False) -> list[tuple[int, ...]]:
    """Return the subsets to look at, the largest first, as positions.

    Args:
        names: The sources.
        few: Only those that have, or lack, at most two; of more than 8 sources it is always so.
    """
    count = len(names)
    some = few or count > _EVERY
    sizes = [n for n in range(count, 0, -1) if not some or n <= _FEW or n >= count - _FEW]
    return [subset for n in sizes for subset in combinations(range(count), n)]


def seconds_for(run: Run, subsets: int) -> float:
    """Return about how long so many subsets take, from fusing all sources once."""
    began = time.monotonic()
    stacking.fuse_rows(run.rows, run.fuser, run.protocol)
    return subsets * (time.monotonic() - began)


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
            whole=_mean_of_folds([[run.fusion.right[c] for c in _having(f)] for f in folds]),
            uniform=_uniform(run, subset, folds),
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


def _having(fold: FusedFold) -> list[str]:
    """Return the clips that have any source."""
    return [c for c, row in zip(fold.clip_ids, fold.fused, strict=True) if not np.isnan(row[0])]


def _mean_of_folds(right: Sequence[Sequence[bool]]) -> float:
    return float(np.mean([np.mean(own) for own in right if own]))


def _uniform(run: Run, subset: Sequence[int], folds: Sequence[FusedFold]) -> float | None:
    """Return the accuracy of the whole fusion when the other sources say nothing, on the same clips."""
    right = []
    for fold, own in zip(run.folds, folds, strict=True):
        if fold.fitted is None or fold.fitted.raw:
            return None
        P = np.full_like(fold.sources, 1 / len(run.classes))
        there = ~np.isnan(fold.sources)
        P[:, subset] = np.where(there, fold.sources, P)[:, subset]
        decided = fold.fitted.predict_proba(P).argmax(axis=1)
        truth = [run.classes.index(label) for label in run.protocol.labels.loc[fold.clip_ids]]
        right.append((decided == truth)[~np.isnan(own.fused[:, 0])].tolist())
    return _mean_of_folds(right)
