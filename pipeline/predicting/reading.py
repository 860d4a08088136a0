"""Features of single clips, by the processes and networks that make those of a corpus."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from extractors.contract import (
    Clip,
    ClipError,
    Extractor,
    Features,
    FloatArray,
    LimitExceededError,
    Window,
    WindowExtractor,
    check_features,
)
from pipeline.engine.batching import Batcher
from pipeline.engine.decoder import work
from pipeline.engine.messages import Cut, Failed, Item, Job, Limits, Setup, Stop, Take, Whole
from pipeline.engine.pool import DecoderPool
from pipeline.predicting.recordings import Look, Recording, recording_of

_LOOK = ":look:"  # no feature has such a name
Found = dict[str, Features | Failed]
Parts = dict[str, list[tuple[Window, FloatArray]]]


class Reader:
    """Decodes clips in processes of their own, as `extract` does; networks stay loaded in this one.

    Args:
        extractors: By feature. Those that read pictures of another feature need that one among them.
        workers: Decode processes.
        limits: Of one clip.
    """

    def __init__(self, extractors: Mapping[str, Extractor], workers: int, limits: Limits) -> None:
        self._media = {name: e for name, e in extractors.items() if e.reads_media}
        self._second = {name: e for name, e in extractors.items() if not e.reads_media}
        self._setup = Setup({_LOOK: Look(), **self._media}, limits.bytes)
        self._workers, self._limits = workers, limits
        self._pool: DecoderPool | None = DecoderPool(self._setup, workers, limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def forget(self) -> None:
        """Hold on to none of the files that were read, nor to their sound."""
        if self._pool is not None:
            self._pool.forget()

    def look(self, paths: Sequence[Path]) -> list[Recording | Failed]:
        """Return what each file is."""
        found = (f[_LOOK] for f in self._stream((Clip("recording", audio=path) for path in paths), [_LOOK]))
        return [
            recording_of(path, looked) if isinstance(looked, Features) else looked
            for path, looked in zip(paths, found, strict=True)
        ]

    def features(self, clips: Iterable[Clip], wanted: Sequence[str]) -> Generator[Found, None, None]:
        """Yield the chosen features of each clip, or why there are none.

        Clips are decoded ahead. Who does not want the rest must close the generator.
        """
        first = [name for name in wanted if name in self._media]
        second = [name for name in wanted if name in self._second]
        with closing(self._stream(clips, first)) as stream:
            for found in stream:
                for name in second:
                    found |= self._made_of(found, name)
                yield found

    def _stream(self, clips: Iterable[Clip], names: Sequence[str]) -> Generator[Found, None, None]:
        if self._pool is None:
            self._pool = DecoderPool(self._setup, self._workers, self._limits)
        jobs = (Job(i, Take(clip, "", ()), tuple(names)) for i, clip in enumerate(clips))
        ended = False
        try:
            for _, items in self._pool.stream(jobs):
                yield self._gathered(items, names)
            ended = True
        finally:
            if not ended:  # what is under way belongs to nobody any more
                self.close()

    def _made_of(self, found: Found, name: str) -> Found:
        """Return what an extractor makes of the pictures that another feature holds."""
        extractor = self._second[name]
        source = found.get(extractor.reads_feature or "")
        if not isinstance(source, Features):
            return {name: replace(source, feature=name) if source else Failed(name, "", "no pictures")}
        job = Job(0, Take(Clip("recording", stored=source), "", ()), (name,))
        return self._gathered(work(job, Setup({name: extractor}, 0)), [name])

    def _gathered(self, items: Iterator[Item], names: Sequence[str]) -> Found:
        """Collect what comes of one clip; networks see its windows in batches of their own."""
        found: Found = {}
        parts: Parts = defaultdict(list)
        networks = {n: e for n in names if isinstance(e := self._extractor(n), WindowExtractor)}
        batchers = {n: Batcher(e, probe=False) for n, e in networks.items()}

        def place(
            name: str, embedded: Iterator[tuple[None, Window, FloatArray | LimitExceededError]]
        ) -> None:
            for _, window, rows in embedded:
                if isinstance(rows, LimitExceededError):
                    found[name] = Failed(name, type(rows).__name__, str(rows))
                else:
                    parts[name].append((window, rows))

        for item in items:
            if isinstance(item, Whole):
                found[item.feature] = item.features
            elif isinstance(item, Failed):
                found[item.feature] = item
            elif isinstance(item, Stop):
                found[item.feature] = Failed(item.feature, type(item).__name__, item.message)
            elif isinstance(item, Cut):
                place(item.feature, batchers[item.feature].add(None, item.window))
        for name, network in networks.items():
            place(name, batchers[name].flush())
            if name not in found:
                found[name] = _assembled(network, name, parts[name])
        return found

    def _extractor(self, name: str) -> Extractor:
        return self._second[name] if name in self._second else self._setup.extractors[name]


def _assembled(
    network: WindowExtractor, name: str, parts: list[tuple[Window, FloatArray]]
) -> Features | Failed:
    try:
        features = network.assemble(sorted(parts, key=lambda part: part[0].start))
        check_features(features, network.dim)
    except ClipError as error:
        return Failed(name, type(error).__name__, str(error))
    return features
