"""A decode worker: reads clips, gives back features of whole clips, or windows for the networks.

Runs as `python -m pipeline.engine.decoder DESCRIPTOR` in a process of its own, which the engine may kill.
"""

import contextlib
import ctypes
import logging
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from affectstack import AffectstackError
from affectstack.hashing import clip_sha256
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
from pipeline.engine.messages import Cut, Done, Failed, Item, Job, Setup, Stop, Take, Whole

Send = Callable[[Item], None]
_PARENT_DIES = 1  # PR_SET_PDEATHSIG


class SourceChangedError(ClipError):
    """A file is not the one that the manifest was made from."""


def main() -> None:
    """Serve one engine until it closes the connection."""
    channel = Connection(int(sys.argv[1]))
    _settle()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the engine has ended
        _serve(channel)


def _serve(channel: "Connection[Any, Any]") -> None:
    setup = channel.recv()
    assert isinstance(setup, Setup)  # noqa: S101  # our own protocol
    if setup.memory:
        resource.setrlimit(resource.RLIMIT_DATA, (setup.memory, setup.memory))
    channel.send(Done())  # ready
    while True:
        job: Job = channel.recv()
        work(job, setup, channel.send)
        channel.send(Done())


def work(job: Job, setup: Setup, send: Send) -> None:
    """Do one clip for all features that want it; its media are decoded once."""
    chosen = {name: setup.extractors[name] for name in job.features}
    try:
        if any(e.reads_media for e in chosen.values()):
            _refuse_changed(job.take)
    except (ClipError, OSError) as error:
        for name in chosen:
            send(Failed(name, type(error).__name__, str(error)))
        return
    rates = frozenset(e.sound_rate for e in chosen.values() if e.sound_rate is not None)
    networks = [n for n, e in chosen.items() if isinstance(e, WindowExtractor)]
    frames = sum(chosen[n].modality in ("video", "face") for n in networks)
    clip = replace(job.take.clip, shared=Shared(rates, max(1, frames)))
    job = replace(job, take=replace(job.take, clip=clip))
    for name, extractor in chosen.items():
        if name not in networks:
            _guarded(name, send, lambda e=extractor, n=name: _whole(e, n, job, send))  # type: ignore[misc]
    _windows({n: chosen[n] for n in networks}, job, send)  # type: ignore[misc]


def _whole(extractor: Extractor, name: str, job: Job, send: Send) -> None:
    features = extractor.extract(job.take.clip)
    check_features(features, extractor.dim)
    if name in job.probe:
        _refuse_other(features, extractor.extract(job.take.clip))
    send(Whole(name, features))


def _windows(networks: dict[str, WindowExtractor], job: Job, send: Send) -> None:
    """Send the windows of every network as they come, always of the one that is furthest behind.

    So all of them read the same frames at nearly the same time, and no more than a window of them is kept.
    """
    streams = {name: _opened(extractor, job.take.clip) for name, extractor in networks.items()}
    at = dict.fromkeys(streams, float("-inf"))
    while at:
        name = min(at, key=at.__getitem__)
        window = None

        def step(name: str = name) -> None:
            nonlocal window
            window = next(streams[name], None)

        if not _guarded(name, send, step) or window is None:
            del at[name]
            continue
        send(Cut(name, window))
        at[name] = window.end


def _opened(extractor: WindowExtractor, clip: Clip) -> Iterator[Window]:
    """Return the windows of a clip; nothing happens, and nothing fails, before the first is asked for."""
    yield from extractor.windows(clip)


def _guarded(name: str, send: Send, step: Callable[[], None]) -> bool:
    """Run a step; what goes wrong costs this clip and this feature."""
    try:
        step()
    except ClipError as error:
        send(Failed(name, type(error).__name__, str(error)))
    except AffectstackError as error:
        send(Stop(name, str(error)))
    except MemoryError:
        send(Failed(name, LimitExceededError.__name__, "needs more memory than one clip may take"))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.name} of {Path(where.filename).name}"
        text = f"{' '.join(str(error).split())[:200]} (a bug, in {place})"
        send(Failed(name, type(error).__name__, text, traceback.format_exc()))
    else:
        return True
    return False


def _refuse_changed(take: Take) -> None:
    if take.sha256 and (found := clip_sha256(take.files)) and found != take.sha256:
        raise SourceChangedError(
            f"{' and '.join(f.name for f in take.files)} changed since the manifest was made "
            f"(sha256 {found[:12]}, manifest {take.sha256[:12]}); run python -m pipeline.init again"
        )


def _refuse_other(once: Features, again: Features) -> None:
    if not np.array_equal(once.values, again.values):
        raise BadFeaturesError(
            "two runs over the same clip gave different values; an extractor must be deterministic"
        )


def _settle() -> None:
    """Become a process that computes on one thread, leaves signals to its parent and dies with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIES, signal.SIGKILL)


if __name__ == "__main__":
    main()
