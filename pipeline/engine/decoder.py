"""A decode worker: reads clips, gives back features of whole clips, or windows for the networks.

Runs as `python -m pipeline.engine.decoder DESCRIPTOR` in a process of its own, which the engine may kill.
"""

import contextlib
import ctypes
import logging
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from affectstack import AffectstackError
from affectstack.hashing import clip_sha256
from extractors.audit import Audit, ClipAudit
from extractors.contract import (
    BadFeaturesError,
    Clip,
    ClipError,
    Extractor,
    Features,
    LimitExceededError,
    Window,
    WindowExtractor,
    check_features,
)
from extractors.shared import Shared
from extractors.tape import Tape
from pipeline.engine.messages import (
    Alive,
    Audited,
    Cut,
    Done,
    Failed,
    Forget,
    Item,
    Job,
    Setup,
    Stop,
    Take,
    Whole,
)

T = TypeVar("T")
_ALIVE_SECONDS = 1.0  # between two signs of life
_PARENT_DIES = 1  # PR_SET_PDEATHSIG


class SourceChangedError(ClipError):
    """A file is not the one that the manifest was made from."""


def main() -> None:
    """Serve one engine until it closes the connection."""
    channel = Connection(int(sys.argv[1]))
    settle()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the engine has ended
        _serve(channel)


def _serve(channel: "Connection[Any, Any]") -> None:
    setup = channel.recv()
    assert isinstance(setup, Setup)  # noqa: S101  # our own protocol
    if setup.memory:
        resource.setrlimit(resource.RLIMIT_DATA, (setup.memory, setup.memory))
    channel.send(Done())  # ready
    told, tape = time.monotonic(), Tape()

    def alive() -> None:
        nonlocal told
        if time.monotonic() - told >= _ALIVE_SECONDS:
            channel.send(Alive())
            told = time.monotonic()

    heard: Path | None = None
    while True:
        job: Job | Forget = channel.recv()
        sound = None if isinstance(job, Forget) else _cut_from(job.take.clip)
        if sound is None or sound != heard:
            tape.forget()
        heard = sound
        if isinstance(job, Forget):
            continue
        _send(channel, work(job, setup, alive, tape))
        channel.send(Done())


def _send(channel: "Connection[Any, Any]", items: Iterator[Item]) -> None:
    """Send what comes of a job; nothing of it is held while the next one is waited for."""
    for item in items:
        channel.send(item)


def _cut_from(clip: Clip) -> Path | None:
    """Return the file whose sound a clip is a piece of; None if it is the whole of it."""
    return None if clip.start is None and clip.end is None else clip.sound


def work(
    job: Job, setup: Setup, still_alive: Callable[[], None] = lambda: None, tape: Tape | None = None
) -> Iterator[Item]:
    """Do one clip for all features that want it; its media are decoded once.

    Args:
        job: The clip, and which features want it.
        setup: What to work with.
        still_alive: Called where work takes long before anything comes of it.
        tape: The sound of the clips before, which this one may follow in the same file.
    """
    chosen = {name: setup.extractors[name] for name in job.features}
    try:
        if any(e.reads_media for e in chosen.values()):
            _refuse_changed(job.take)
    except (ClipError, OSError) as error:
        yield from (Failed(name, type(error).__name__, str(error)) for name in chosen)
        return
    rates = frozenset(e.sound_rate for e in chosen.values() if e.sound_rate is not None)
    networks = {n: e for n, e in chosen.items() if isinstance(e, WindowExtractor)}
    frames = sum(e.modality == "video" for e in networks.values())
    shared = Shared(rates, max(1, frames), still_alive, tape)
    clips = {name: replace(job.take.clip, shared=shared, audit=Audit()) for name in chosen}
    for name, extractor in chosen.items():
        if name not in networks:
            item = _guarded(name, lambda e=extractor, n=name: _whole(e, n, clips[n], n in job.probe))  # type: ignore[misc]
            yield item
            if isinstance(item, Whole):
                yield from _audited(name, clips[name])
    yield from _windows(networks, clips)


def _whole(extractor: Extractor, name: str, clip: Clip, probe: bool) -> Whole:
    features = extractor.extract(clip)
    check_features(features, extractor.dim)
    if probe:
        _refuse_other(features, extractor.extract(replace(clip, audit=None)))
    return Whole(name, features)


def _windows(networks: dict[str, WindowExtractor], clips: dict[str, Clip]) -> Iterator[Item]:
    """Yield the windows of every network as they come, always of the one that is furthest behind.

    So all of them read the same frames at nearly the same time, and no more than a window of them is kept.
    """
    streams = {name: _opened(extractor, clips[name]) for name, extractor in networks.items()}
    at = dict.fromkeys(streams, float("-inf"))
    while at:
        name = min(at, key=at.__getitem__)
        item = _guarded(name, lambda n=name: _next(streams[n], n))  # type: ignore[misc]
        if isinstance(item, Cut):
            at[name] = item.window.end
        else:
            del at[name]
        if item is not None:
            yield item
        else:
            yield from _audited(name, clips[name])


def _audited(name: str, clip: Clip) -> Iterator[Audited]:
    """Yield what the notes of an extractor that is through say, if it read any media.

    A clip that is through is not lost because nothing can be said of it.
    """
    found: ClipAudit | None = None
    with contextlib.suppress(Exception):
        found = None if clip.audit is None else clip.audit.found()
    if found is not None:
        yield Audited(name, found)


def _next(windows: Iterator[Window], name: str) -> Cut | None:
    window = next(windows, None)
    return None if window is None else Cut(name, window)


def _opened(extractor: WindowExtractor, clip: Clip) -> Iterator[Window]:
    """Return the windows of a clip; nothing happens, and nothing fails, before the first is asked for."""
    yield from extractor.windows(clip)


def _guarded(name: str, step: Callable[[], T]) -> T | Failed | Stop:
    """Return what a step gives; what goes wrong costs this clip and this feature."""
    try:
        return step()
    except ClipError as error:
        return Failed(name, type(error).__name__, str(error))
    except AffectstackError as error:
        return Stop(name, str(error))
    except MemoryError:
        return Failed(name, LimitExceededError.__name__, "needs more memory than one clip may take")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.name} of {Path(where.filename).name}"
        text = f"{' '.join(str(error).split())[:200]} (a bug, in {place})"
        return Failed(name, type(error).__name__, text, traceback.format_exc())


def _refuse_changed(take: Take) -> None:
    if take.sha256 and (found := clip_sha256(take.files)) and found != take.sha256:
        raise SourceChangedError(
            f"{' and '.join(f.name for f in take.files)} changed since the manifest was made "
            f"(sha256 {found[:12]}, manifest {take.sha256[:12]}); run python -m pipeline.init again"
        )


def _refuse_other(once: Features, again: Features) -> None:
    if not np.array_equal(once.values, again.values) or once.pictures != again.pictures:
        raise BadFeaturesError(
            "two runs over the same clip gave different values; an extractor must be deterministic"
        )


def settle() -> None:
    """Become a process that computes on one thread, leaves signals to its parent and dies with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIES, signal.SIGKILL)


if __name__ == "__main__":
    main()
