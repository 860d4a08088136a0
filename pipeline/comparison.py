"""What comparisons of runs have in common, whatever the runs predict."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from fusion import FUSERS, VALUE_FUSERS
from pipeline.report.page import FUSED, INK, bare, plain_names
from pipeline.report.tables import Table
from pipeline.runs import RunError, StoredRun


def alike(runs: Sequence[StoredRun]) -> bool:
    """Whether all runs bear the same marks, so that their figures are of one kind."""
    return len({frozenset(marks(r)) for r in runs}) == 1


def same_folds(runs: Sequence[StoredRun]) -> bool:
    """Whether all runs were tested on the same folds."""
    return len({frozenset(frozenset(part) for part in r.test_subjects) for r in runs}) == 1


def common_clips(runs: Sequence[StoredRun]) -> list[str]:
    """Return the clips that all runs have, sorted.

    Raises:
        RunError: If there is none, or the runs differ in what they predict, or in the truth or the subject of
            a clip.
    """
    common = sorted(set.intersection(*(set(r.clips.index) for r in runs)))
    for other in runs[1:]:
        _refuse_unlike(runs[0], other, common)
    if not common:
        raise RunError(f"no clip is in all of {', '.join(r.name for r in runs)}; they are of other corpora")
    return common


def _refuse_unlike(first: StoredRun, other: StoredRun, common: Sequence[str]) -> None:
    if set(first.targets.columns) != set(other.targets.columns):
        what = "attributes" if first.targets.attributes else "classes"
        raise RunError(
            f"{first.name} knows the {what} {', '.join(first.targets.names)}, {other.name} knows "
            f"{', '.join(other.targets.names)}; only runs of the same {what} can be compared"
        )
    for column in (*first.targets.truth_columns, "subject"):
        one, two = (r.clips[column].to_dict() for r in (first, other))
        if unlike := [clip for clip in common if one[clip] != two[clip]]:
            clip, what = unlike[0], column.rpartition(":")[2]
            raise RunError(
                f"{len(unlike)} clips have another {what} in {other.name} than in {first.name}, such as "
                f"{clip}: {two[clip]!r} and {one[clip]!r}; these runs are not of the same clips"
            )


def marks(stored: StoredRun) -> list[str]:
    """Return the grade of what a fusion learned from, and what else sets its figures apart."""
    known = VALUE_FUSERS if stored.targets.attributes else FUSERS
    rule = stored.method in known and not known[stored.method].trainable
    trained = stored.temperature or not rule
    grade = [stored.stacking] if trained else []
    return [*grade, *(mark for mark in stored.marks if mark not in grade)]


def runs_table(runs: Sequence[StoredRun]) -> Table:
    """Return how each run came about, and what a reader must know of it."""
    rows = [
        [
            r.name,
            f"{r.method}, temperature" if r.temperature else r.method,
            ", ".join(r.sources),
            str(len(r.clips)),
            r.folds_name,
            ", ".join(marks(r)) or "–",
        ]
        for r in runs
    ]
    sentences = []
    if not alike(runs):
        sentences.append("The marks differ: these figures are not all of one kind.")
    for flag in dict.fromkeys(flag for r in runs for flag in r.flags):
        bearers = [r.name for r in runs if flag in r.flags]
        sentences.append(f"{flag} ({'all' if len(bearers) == len(runs) else ', '.join(bearers)}).")
    return Table("Runs", ["run", "fusion", "sources", "clips", "folds", "marks"], rows, " ".join(sentences))


def draw_intervals(
    axes: Axes, names: Sequence[str], values: Sequence[tuple[float, tuple[float, float]]], scale: float = 1.0
) -> None:
    """Draw a dot and an interval per row, the first on top."""
    for row, (middle, (low, high)) in enumerate(values):
        axes.plot([scale * low, scale * high], [row, row], color=FUSED, linewidth=2)
        axes.plot([scale * middle], [row], "o", color=INK, markersize=5)
    axes.set_yticks(range(len(names)), plain_names(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    bare(axes)
