"""Bringing sources together by clip and by class name, never by position."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError

Missing = Literal["error", "drop", "marginalise"]
_SHOWN = 5


class FusionError(AffectstackError):
    """Sources that cannot be fused as they are."""


@dataclass(frozen=True)
class Source:
    """One source's posteriors of some clips.

    Attributes:
        name: What the experiment calls it.
        clip_ids: `[N]`, in any order.
        classes: `[K]`, in the order of its columns.
        posteriors: `[N, K]`.
    """

    name: str
    clip_ids: Sequence[str]
    classes: Sequence[str]
    posteriors: NDArray[np.float64]


@dataclass(frozen=True)
class Joined:
    """Sources on common clips and classes.

    Attributes:
        clip_ids: `[N]`, sorted.
        posteriors: `[N, S, K]`; NaN where a source lacks a clip, which only "marginalise" lets happen.
        dropped: Clips that were left out because not every source has them.
        names: `[S]`, the sources.
    """

    clip_ids: list[str]
    posteriors: NDArray[np.float64]
    dropped: list[str]
    names: list[str]


def join(sources: Sequence[Source], classes: Sequence[str], missing: Missing = "error") -> Joined:
    """Align sources.

    Args:
        sources: At least one.
        classes: The class order of the result; every source must have exactly these names.
        missing: What to do with clips that not every source has: "error" refuses, "drop" leaves them out,
            "marginalise" keeps them with the sources that they have.

    Raises:
        FusionError: If class names or clips differ, or a clip occurs twice.
    """
    if not sources:
        raise FusionError("fusion: no sources; train heads first")
    names = [s.name for s in sources]
    if len(set(names)) < len(names):
        raise FusionError(f"fusion: a source is named twice: {', '.join(names)}")
    for source in sources:
        _check(source, classes)
    sets = {s.name: set(s.clip_ids) for s in sources}
    common = set.intersection(*sets.values())
    every = set.union(*sets.values())
    if every != common and missing == "error":
        raise FusionError(_differing(sets, common))
    kept = every if missing == "marginalise" else common
    if not kept:
        raise FusionError(f"fusion: no clip is in all of {', '.join(sets)}")
    clips, dropped = sorted(kept), sorted(every - kept)
    stacked = np.stack([_aligned(s, clips, classes) for s in sources], axis=1)
    return Joined(clips, stacked, dropped, names)


def _check(source: Source, classes: Sequence[str]) -> None:
    if set(source.classes) != set(classes) or len(source.classes) != len(classes):
        raise FusionError(
            f"fusion: source {source.name!r} has classes {', '.join(source.classes)}; "
            f"expected {', '.join(classes)}"
        )
    expected = (len(source.clip_ids), len(source.classes))
    if source.posteriors.shape != expected:
        raise FusionError(
            f"fusion: source {source.name!r} has posteriors of shape {list(source.posteriors.shape)}; "
            f"expected {list(expected)}, clips by classes"
        )
    clip, times = Counter(source.clip_ids).most_common(1)[0] if source.clip_ids else ("", 1)
    if times > 1:
        raise FusionError(f"fusion: source {source.name!r} has clip {clip!r} twice")


def _aligned(source: Source, clips: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    row = {clip: i for i, clip in enumerate(source.clip_ids)}
    columns = [list(source.classes).index(c) for c in classes]
    aligned = np.full((len(clips), len(classes)), np.nan)
    there = [i for i, c in enumerate(clips) if c in row]
    aligned[there] = source.posteriors[[row[clips[i]] for i in there]][:, columns]
    return aligned


def _differing(sets: dict[str, set[str]], common: set[str]) -> str:
    parts = []
    everything = set.union(*sets.values())
    for name, clips in sets.items():
        if lacking := sorted(everything - clips):
            shown = ", ".join(lacking[:_SHOWN]) + (", …" if len(lacking) > _SHOWN else "")
            parts.append(f"{name!r} lacks {len(lacking)} ({shown})")
    return (
        f"fusion: the sources' clips differ: {'; '.join(parts)}; {len(common)} are common. "
        "Extract and train the missing ones, or leave them out with --missing drop, or fuse what they have "
        "with --missing marginalise"
    )
