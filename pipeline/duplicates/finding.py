"""Which clips of an experiment are one recording."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from manifests import Fold, Folds, Manifest, ManifestError
from pipeline.cli import say, workers_or_cores
from pipeline.duplicates import matching
from pipeline.duplicates.fingerprints import Fingerprints
from pipeline.progress import Meter
from pipeline.workspace import Workspace

Kind = Literal["same file", "same sound"]


@dataclass(frozen=True)
class Pair:
    """Two clips that are one recording.

    Attributes:
        first: A clip.
        second: Another, later in the manifest.
        kind: Whether their files are equal to the byte, or their sound is the same.
        similarity: The share of the bits of their fingerprints that are equal; 1.0 for equal files.
        subjects: Whose they are.
        folds: The outer folds that train on one of them and test on the other; () where no folds can be made.
    """

    first: str
    second: str
    kind: Kind
    similarity: float
    subjects: tuple[str, str]
    folds: tuple[int, ...] = ()

    @property
    def across(self) -> bool:
        """Whether they are said to be of two subjects: a leak that folds by subject do not prevent."""
        return self.subjects[0] != self.subjects[1]


@dataclass(frozen=True)
class Duplicates:
    """What was found among the clips that heads and fusion see.

    Attributes:
        pairs: Those across subjects first. Of many copies of one recording not every pair is named, but all
            of them hang together.
        clips: How many rows the manifest has.
        looked_at: How many of them have a sound that can be compared. Of a clip the first 120 s are heard.
        short: How many have a sound that is too short, or silent but for a moment.
        without_sound: How many have none.
        unread: Why a clip could not be read, by clip.
        reason: Why no sound was compared, in a sentence; "" if some was.
        split: What the experiment's folds are called; "" where none can be made.
    """

    pairs: list[Pair]
    clips: int
    looked_at: int
    short: int = 0
    without_sound: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    split: str = ""

    @property
    def complete(self) -> bool:
        """Whether every clip was looked at, as far as it has a sound: none was unreadable."""
        return not self.unread

    @property
    def leaking(self) -> list[Pair]:
        """The pairs of two subjects of which some fold trains on one and tests on the other."""
        return [pair for pair in self.across if pair.folds]

    @property
    def across(self) -> list[Pair]:
        """The pairs of two subjects, whether or not these folds divide them."""
        return [pair for pair in self.pairs if pair.across]

    @property
    def within(self) -> list[Pair]:
        """The pairs of one subject: no leak, but one recording counts twice."""
        return [pair for pair in self.pairs if not pair.across]


def find_duplicates(workspace: Workspace, workers: int | None = None, *, tell: bool = False) -> Duplicates:
    """Look for clips that are one recording. What was heard is kept, so that a second look costs little.

    Args:
        workspace: The experiment. Clips of classes that it drops are not looked at.
        workers: Processes; None is one per core.
        tell: Show the progress.

    Raises:
        ManifestError: If the manifest cannot be used. Media that are not there are no error; see `reason`.
    """
    manifest = workspace.labelled()
    workers = workers_or_cores(workers)
    prints = Fingerprints(workspace, manifest)
    todo = prints.todo()
    making = prints.make(todo, workers)
    if tell and todo:
        say(f"listening to {len(todo)} of {len(manifest)} clips")
        with Meter("  listening", len(todo), "clips") as meter:
            for _ in making:
                meter.add(1)
    else:
        for _ in making:
            pass
    prints.hash(workers)
    return _found(workspace, manifest, prints)


def _found(workspace: Workspace, manifest: Manifest, prints: Fingerprints) -> Duplicates:
    heard = [prints[i] for i in range(len(prints))]
    names = manifest.frame["clip_id"].tolist()
    comparable = [i for i, h in enumerate(heard) if h.fingerprint is not None and h.fingerprint.comparable]
    problems = {i: h.problem for i, h in enumerate(heard) if h.problem}
    unread = {names[i]: problem for i, problem in problems.items() if not heard[i].lasting}
    unheard = sum(problem.startswith("MissingMediaError") for problem in problems.values())
    alike = matching.same_sound([heard[i].fingerprint or matching.NOTHING for i in comparable])
    pairs = {(comparable[a], comparable[b]): share for (a, b), share in alike.items()}
    files = _files(manifest, [prints.identity(i) for i in range(len(prints))])
    folds = _outer_folds(workspace, manifest)
    return Duplicates(
        pairs=_pairs(manifest, folds or (), pairs, files),
        clips=len(manifest),
        looked_at=len(comparable),
        short=len(heard) - len(comparable) - unheard - len(unread),
        without_sound=unheard,
        unread=unread,
        reason="" if comparable else _reason(workspace, len(heard), unheard, list(unread.values())),
        split="" if folds is None else folds.name,
    )


def _files(manifest: Manifest, identities: Sequence[str]) -> list[tuple[object, ...]]:
    """Return what rows of the same recording, to the byte, have in common; () for rows without any."""
    frame = manifest.frame
    pieces = zip(frame["start"].map(str), frame["end"].map(str), frame["video"] + frame["audio"], strict=True)
    return [
        (identity, start, end) if identity and media else ()
        for identity, (start, end, media) in zip(identities, pieces, strict=True)
    ]


def _pairs(
    manifest: Manifest,
    folds: Sequence[Fold],
    alike: Mapping[tuple[int, int], float],
    files: Sequence[tuple[object, ...]],
) -> list[Pair]:
    names, subjects = manifest.frame["clip_id"].tolist(), manifest.frame["subject"].tolist()
    best: dict[tuple[str, str], Pair] = {}
    both = {**alike, **dict.fromkeys(_equal(files), 1.0)}
    for (a, b), share in sorted(both.items()):
        if names[a] == names[b]:  # cameras of one take
            continue
        kind: Kind = "same file" if files[a] and files[a] == files[b] else "same sound"
        owners = (subjects[a], subjects[b])
        split = tuple(f.index for f in folds if _divided(f, owners))
        pair = Pair(names[a], names[b], kind, share, owners, split)
        known = best.setdefault((pair.first, pair.second), pair)
        if (kind == "same file", share) > (known.kind == "same file", known.similarity):
            best[pair.first, pair.second] = pair
    return sorted(best.values(), key=lambda p: not p.across)


def _divided(fold: Fold, subjects: tuple[str, str]) -> bool:
    """Tell whether a fold trains on one and tests on the other."""
    return any({a} <= fold.test and {b} <= fold.train for a, b in (subjects, subjects[::-1]))


def _equal(files: Sequence[tuple[object, ...]]) -> Iterator[tuple[int, int]]:
    """Yield rows of equal files, each with the next few."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        if file:
            groups[file].append(row)
    for rows in groups.values():
        for i, row in enumerate(rows):
            yield from ((row, other) for other in rows[i + 1 : i + 1 + matching.NEIGHBOURS])


def _outer_folds(workspace: Workspace, manifest: Manifest) -> Folds | None:
    try:
        return workspace.folds(manifest)
    except ManifestError:  # features of a folder need no folds
        return None


def _reason(workspace: Workspace, clips: int, unheard: int, unread: Sequence[str]) -> str:
    if unread:
        return f"no sound could be read below {workspace.root}: {unread[0]}"
    if unheard == clips:
        return "no clip has sound"
    return "no clip has enough sound to be compared"
