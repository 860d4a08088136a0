"""From what comes of clips, in order, to published shards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from affectstack import AffectstackError
from extractors.audit import ClipAudit
from extractors.contract import (
    BadFeaturesError,
    ClipError,
    Features,
    FloatArray,
    LimitExceededError,
    Window,
    WindowExtractor,
    check_features,
)
from pipeline.engine.batching import Batcher
from pipeline.engine.messages import Audited, Cut, Failed, Item, Stop, Take, Whole
from pipeline.engine.plan import Plan
from pipeline.store import ClipKey, Failure, Record, write_shard


@dataclass(frozen=True)
class Made:
    """A shard that was just published: whose, which, and its record."""

    plan: Plan
    shard: int
    record: Record


class Collector:
    """Gathers the features of one plan's clips, shard by shard.

    Args:
        plan: What is wanted.
        todo: The positions of the shards to make, in order; at least one.
        probe: See `Batcher`.
    """

    def __init__(self, plan: Plan, todo: Sequence[int], probe: bool) -> None:
        self.plan = plan
        self._shards = iter(todo)
        self._batcher = (
            Batcher(plan.extractor, probe) if isinstance(plan.extractor, WindowExtractor) else None
        )
        self._begin()

    @property
    def effort(self) -> str:
        """What the network of this feature did, in words; "" if there is none or nobody counted."""
        batcher, extractor = self._batcher, self.plan.extractor
        if batcher is None or not batcher.windows or not isinstance(extractor, WindowExtractor):
            return ""
        if not (gflop := extractor.gflop_per_window()):
            return ""
        rate = gflop * batcher.windows / max(batcher.seconds, 1e-9)
        return f"{batcher.windows} windows of {gflop:.4g} GFLOP, at {rate:.3g} GFLOP/s"

    def take(self, clip: int, item: Item) -> None:
        """Note what came of a clip; once it has failed or is complete, nothing more counts.

        Raises:
            AffectstackError: If something is wrong that concerns every clip.
        """
        if isinstance(item, Stop):
            raise AffectstackError(item.message)
        if isinstance(item, Audited):
            self._audits[clip] = item.audit
        if clip in self._failures or clip in self._done:
            return
        if isinstance(item, Failed):
            self._fail(clip, item.type, item.message)
        elif isinstance(item, Whole):
            self._done[clip] = item.features
        elif isinstance(item, Cut) and self._batcher is not None:
            self._parts.setdefault(clip, [])
            self._place(self._batcher.add(clip, item.window))

    def end(self, clip: int, take: Take) -> Made | None:
        """Note that nothing more comes of a clip; return the shard if that finished one."""
        self._keys[clip] = take.key
        if clip != self._task.clips.stop - 1:
            return None
        if self._batcher is not None:
            self._place(self._batcher.flush())
        made = Made(self.plan, self._shard, self._publish())
        self._begin()
        return made

    def _begin(self) -> None:
        self._shard = next(self._shards, len(self.plan.tasks) - 1)
        self._task = self.plan.tasks[self._shard]
        self._keys: dict[int, ClipKey] = {}
        self._done: dict[int, Features] = {}
        self._failures: dict[int, tuple[str, str]] = {}
        self._parts: dict[int, list[tuple[Window, FloatArray]]] = {}
        self._audits: dict[int, ClipAudit] = {}

    def _fail(self, clip: int, kind: str, message: str) -> None:
        self._failures[clip] = (kind, message)
        self._parts.pop(clip, None)

    def _place(self, embedded: Iterator[tuple[int, Window, FloatArray | LimitExceededError]]) -> None:
        try:
            for clip, window, rows in embedded:
                if isinstance(rows, LimitExceededError):
                    self._fail(clip, type(rows).__name__, str(rows))
                elif clip in self._parts:
                    self._parts[clip].append((window, rows))
        except BadFeaturesError as error:  # of a whole batch: no clip can be trusted
            raise AffectstackError(f"feature {self.plan.feature!r}: {error}") from error

    def _assembled(self, clip: int) -> Features:
        extractor = self.plan.extractor
        if isinstance(extractor, WindowExtractor):
            parts = sorted(self._parts.get(clip, []), key=lambda part: part[0].start)
            features = extractor.assemble(parts)
            check_features(features, extractor.dim)
            return features
        if clip not in self._done:
            raise BadFeaturesError("the extractor gave nothing for this clip")
        return self._done[clip]

    def _publish(self) -> Record:
        done: list[tuple[ClipKey, Features]] = []
        audits, failures = [], []
        for clip in self._task.clips:
            if clip not in self._failures:
                try:
                    done.append((self._keys[clip], self._assembled(clip)))
                    audits.append(self._audits.get(clip))
                except ClipError as error:
                    self._fail(clip, type(error).__name__, str(error))
            if clip in self._failures:
                failures.append(Failure(*self._keys[clip], *self._failures[clip]))
        extractor = self.plan.extractor
        return write_shard(
            self._task.path,
            done,
            self.plan.identity,
            extractor.feature_names,
            planned_sha256=self._task.planned_sha256,
            failures=failures,
            seen_subjects=sorted(extractor.trained_on),
            tallies=[extractor.tally(features) for _, features in done],
            audits=audits,
        )
