"""`Predictor`: the extractors, heads and fuser of an experiment, kept ready for clips from outside of it."""

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from extractors import Extractor
from fusion import Combiner
from pipeline import stacking
from pipeline.cli import workers_or_cores
from pipeline.engine.local import memory_per_worker
from pipeline.engine.messages import Failed, Limits
from pipeline.engine.plan import Takes
from pipeline.experiment import load
from pipeline.options import ConfigError
from pipeline.posteriors import NO_INNER, PosteriorTable
from pipeline.predicting.known import KnownClip, KnownFiles
from pipeline.predicting.prediction import Prediction, Refusal, SourceResult, WindowResult
from pipeline.predicting.reading import Found, Reader
from pipeline.predicting.recordings import SHORTEST, Cutting, PredictError, Recording, Span
from pipeline.predicting.sources import Extractors, Said, Source, read_source
from pipeline.protocol import Protocol

T = TypeVar("T")
_USUAL = 4.0  # seconds, where nobody knows how long the corpus' clips are
_CLIP_SECONDS = 300.0
_NAMED = 4  # of many clips or subjects


class Predictor:
    """Predicts clips from outside an experiment; no clip that it is given is learned from.

    Everything is loaded once. Each source is the mean of its heads of all folds. The fuser is fitted when a
    set of sources is met for the first time, on the stored test posteriors of all folds for these sources:
    some weights, in far less than a second. Sources that a clip does not allow (no face, no sound), or that
    no new clip allows (tables), are left out.

    Args:
        experiment: The experiment file, trained.
        overrides: `key.to.value=YAML`, as `--set` takes them.
        workers: Processes that decode; default: one per core.
        limits: Of one clip, or one window of a long recording.

    Attributes:
        classes: In the experiment's order; none if it is about attributes.
        attributes: In the experiment's order; none if it is about classes.
        note: What a reader must know of all predictions; those of each have it too.

    Raises:
        AffectstackError: If heads are not trained, or with other settings, data or features, or if no source
            can be used on new clips.
    """

    def __init__(
        self,
        experiment: Path | str = "experiment.yaml",
        overrides: Sequence[str] = (),
        *,
        workers: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._workspace = load(Path(experiment), overrides)
        manifest = self._workspace.labelled()
        self._protocol = Protocol.of_clips(self._workspace, manifest, self._workspace.folds(manifest))
        self.classes, self.attributes = self._protocol.classes, self._protocol.attributes
        extractors = Extractors(self._workspace)
        self._names = self._workspace.sources()
        if not self._names:
            raise ConfigError(f"{self._workspace.file.name} has no heads; add some under `heads:`")
        self._sources: dict[int, Source] = {}  # by position in the names
        self._never: dict[int, str] = {}
        for i, name in enumerate(self._names):
            source = read_source(self._workspace, name, self._protocol, extractors)
            if isinstance(source, str):
                self._never[i] = source
            else:
                self._sources[i] = source
        if not self._sources:
            why = "; ".join(f"{self._names[i]}: {reason}" for i, reason in self._never.items())
            raise PredictError(f"no source of {self._workspace.file.name} can be used on new clips: {why}")
        self._fuser = self._workspace.fuser()
        self._fuser.check(len(self._names))
        self._fitted: dict[tuple[int, ...], Combiner] = {}
        self.note = (
            f"every source is the mean of its models of {len(self._protocol.folds)} folds, each of which "
            "learned from the training subjects of its own fold"
        )
        self._usual, self._why_usual = usual_length(Takes(manifest, self._workspace.root))
        self._known = KnownFiles(manifest, self._workspace.root)
        made: dict[str, Extractor] = {}
        for source in self._sources.values():
            made |= source.extractors
        self._wanted = list(made)
        count = workers_or_cores(workers)
        self._reader = Reader(made, count, limits or Limits(_CLIP_SECONDS, memory_per_worker(count)))
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that decode."""
        self._reader.close()

    def predict(
        self,
        path: Path | str,
        *,
        window: float | None = None,
        hop: float | None = None,
        one_speaker: bool = False,
    ) -> Prediction:
        """Predict one recording.

        Args:
            path: A video or sound file.
            window: Seconds of the pieces that it is cut into; None: the median length of the corpus' clips
                for long recordings, and no pieces for others.
            hop: Seconds from one piece to the next; None: half a piece.
            one_speaker: Only one speaker is heard and seen in it.

        Raises:
            PredictError: If the file cannot be read, or no source can be used on it.
        """
        (result,) = self.predict_all([path], window=window, hop=hop, one_speaker=one_speaker)
        if isinstance(result, Refusal):
            raise PredictError(str(result))
        return result

    def predict_all(
        self,
        paths: Sequence[Path | str],
        *,
        window: float | None = None,
        hop: float | None = None,
        one_speaker: bool = False,
    ) -> Iterator[Prediction | Refusal]:
        """Predict recordings, and yield what is said of each as soon as it is known.

        Args:
            paths: Video and sound files.
            window: See `predict`.
            hop: See `predict`.
            one_speaker: The same speaker, and no other, is in all of them; heads with `speaker_norm` can only
                be used then.

        Raises:
            PredictError: If the window or the hop is of no use, or another prediction is under way.
        """
        cutting = Cutting(self._usual, window, hop)
        if not self._turn.acquire(blocking=False):
            raise PredictError("this Predictor is at work; it predicts one thing after the other")
        try:
            looked = [_cut(r, cutting) for r in self._reader.look([Path(p).absolute() for p in paths])]
            given = list(zip(map(Path, paths), looked, strict=True))
            clips = (r.clip(span) for r, spans in _good(looked) for span in spans)
            with closing(self._reader.features(clips, self._wanted)) as found:
                if one_speaker:
                    said = iter(self._say(list(found), one_speaker=True))
                    for path, cut in given:
                        yield self._result(path, cut, _taken(said, cut), cutting)
                else:
                    for path, cut in given:
                        own = self._say(_taken(found, cut), one_speaker=False)
                        yield self._result(path, cut, own, cutting)
                    deque(found, maxlen=0)  # the last clip is done with when one more was asked for
        finally:
            self._reader.forget()
            self._turn.release()

    def _say(self, clips: Sequence[Found], one_speaker: bool) -> list[dict[int, Said | str]]:
        """Return what each source says of each clip, or why it says nothing."""
        if not clips:
            return []
        said = {i: source.say(clips, one_speaker) for i, source in self._sources.items()}
        return [{i: own[n] for i, own in said.items()} for n in range(len(clips))]

    def _result(
        self, path: Path, cut: "_Cut | str", said: list[dict[int, Said | str]], cutting: Cutting
    ) -> Prediction | Refusal:
        if isinstance(cut, str):
            return Refusal(path, cut)
        recording, spans = cut
        fused = [self._fused(own) for own in said]
        there = [row for row in fused if row is not None]
        results = tuple(self._source_results(said))
        if not there:
            why = "; ".join(f"{result.name}: {result.reason}" for result in results)
            return Refusal(path, f"no source can be used on it: {why}")
        timeline = tuple(
            WindowResult(
                start or 0.0,
                recording.seconds if end is None else end,
                None if row is None else self._by_name(row),
                tuple(self._sources[i].name for i, s in own.items() if isinstance(s, Said)),
            )
            for (start, end), row, own in zip(spans, fused, said, strict=True)
        )
        mean = self._by_name(np.mean(there, axis=0))
        notes = tuple(self._notes(recording, spans, timeline, cutting))
        return Prediction(
            path, recording.seconds, mean, results, timeline, notes, of_values=bool(self.attributes)
        )

    def _fused(self, said: Mapping[int, Said | str]) -> NDArray[np.float64] | None:
        """Return `[K]`, what the sources that say something say together; None if none does."""
        own = {i: s for i, s in said.items() if isinstance(s, Said)}
        if not own:
            return None
        key = tuple(sorted(own))
        if key not in self._fitted:
            tables = [self._sources[i].table for i in key]
            self._fitted[key] = stacking.fit_on_all(tables, self._fuser.of(key), self._protocol)
        rows = [own[i].raw if self._fuser.raw else own[i].posteriors for i in key]
        fused: NDArray[np.float64] = self._fitted[key].combine(np.stack(rows)[None])[0]
        return fused

    def _source_results(self, said: Sequence[Mapping[int, Said | str]]) -> Iterator[SourceResult]:
        """Yield what every source says of a recording, in the experiment's order."""
        for i, name in enumerate(self._names):
            if i in self._never:
                yield SourceResult(name, self._modalities(name), 0, None, self._never[i])
                continue
            own = [s for clip in said if isinstance(s := clip[i], Said)]
            reasons = Counter(s for clip in said if isinstance(s := clip[i], str))
            mean = np.mean([s.posteriors for s in own], axis=0) if own else None
            yield SourceResult(
                name,
                self._modalities(name),
                len(own),
                None if mean is None else self._by_name(mean),
                reasons.most_common(1)[0][0] if reasons else "",
            )

    def _modalities(self, name: str) -> tuple[str, ...]:
        """Return what a source looks at."""
        experiment = self._workspace.experiment
        if name in experiment.finetune:
            return (experiment.finetune[name].modality,)
        if name not in experiment.heads:
            return ()
        features = [f for own in experiment.heads[name].feature_names for f in self._fold_names(own)]
        return tuple(dict.fromkeys(experiment.features[f].modality for f in features))

    def _fold_names(self, feature: str) -> list[str]:
        features = self._workspace.experiment.features
        return (
            [feature] if feature in features else [f for f in features if f.partition("@fold")[0] == feature]
        )

    def _by_name(self, row: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self._protocol.targets.names, map(float, row), strict=True))

    def _notes(
        self, recording: Recording, spans: Sequence[Span], timeline: Sequence[WindowResult], cutting: Cutting
    ) -> Iterator[str]:
        """Yield what a reader must know."""
        yield self.note
        sets = list(dict.fromkeys(window.sources for window in timeline if window.sources))
        how = "; its weights are of what all folds said of their test clips" if self._fuser.trainable else ""
        method = self._workspace.experiment.fusion.method
        yield f"fused by {method}: {' or '.join(' + '.join(own) for own in sets)}{how}"
        if len(spans) > 1:
            usual = "" if cutting.window else f", {self._why_usual}"
            unseen = cutting.unseen(spans, recording.seconds) if cutting.step > cutting.length else 0.0
            between = f"; {unseen:.1%} of it lies between them and was not looked at" if unseen else ""
            yield (
                f"{recording.seconds:.1f} s in {len(spans)} windows of {cutting.length:.2f} s{usual}, one "
                f"every {cutting.step:.2f} s{between}; the whole is the mean of its windows"
            )
        used = {name for own in sets for name in own}
        yield from self._warnings([s.table for s in self._sources.values() if s.name in used])
        if clips := self._known.clips(recording.path):
            yield self._known_note(clips)

    def _warnings(self, tables: Sequence[PosteriorTable]) -> Iterator[str]:
        """Yield what is wrong with the models that were used."""
        for flag, text in (
            ("untrained", "untrained: features come from random weights; they mean little"),
            (
                "transductive",
                "transductive: features were z-scored over all that was given of the speaker",
            ),
            ("selected_on_test", "selected on test: test clips chose among the models"),
        ):
            if on := [table.about.source for table in tables if getattr(table.about, flag)]:
                yield f"{text} ({', '.join(on)})"

    def _known_note(self, clips: Sequence[KnownClip]) -> str:
        """Return what to say of a file of the corpus itself."""
        subjects = {clip.subject for clip in clips}
        seen = max(
            sum(
                not subjects.isdisjoint(m.seen_subjects)
                for m in s.table.about.models
                if m.inner_fold == NO_INNER
            )
            for s in self._sources.values()
        )
        ids = list(dict.fromkeys(clip.clip_id for clip in clips))
        what = "part of it" if any(clip.piece for clip in clips) else "this file"
        whose = "its subject" if len(subjects) == 1 else "its subjects"
        return (
            f"optimistic: {what} is {'clip' if len(ids) == 1 else 'clips'} {_some(ids)} of the experiment, "
            f"and {seen} of {len(self._protocol.folds)} models learned from {whose} "
            f"{_some(sorted(subjects))}; the report has honest figures"
        )


_Cut = tuple[Recording, list[Span]]


def _cut(looked: Recording | Failed, cutting: Cutting) -> _Cut | str:
    """Return a recording and its windows, or why there are none."""
    if isinstance(looked, Failed):
        return looked.message
    try:
        return looked, cutting.spans(looked.seconds)
    except PredictError as error:
        return str(error)


def _good(looked: Sequence[_Cut | str]) -> list[_Cut]:
    return [cut for cut in looked if not isinstance(cut, str)]


def _taken(of_windows: Iterator[T], cut: _Cut | str) -> list[T]:
    """Take what there is of the windows of a recording."""
    return [] if isinstance(cut, str) else list(islice(of_windows, len(cut[1])))


def usual_length(takes: Takes) -> tuple[float, str]:
    """Return how long a window of a long recording is, in seconds, and why."""
    known = [seconds for i in range(len(takes)) if (seconds := takes.seconds(i))]
    if not known:
        return _USUAL, "since the manifest does not say how long the corpus' clips are"
    if (median := round(float(np.median(known)), 2)) < SHORTEST:
        return SHORTEST, "the shortest there are, though the corpus' clips are shorter"
    return median, "the median length of the corpus' clips"


def _some(names: Sequence[str]) -> str:
    """Name the first of several, and how many more there are."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
