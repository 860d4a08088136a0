"""Decode workers as the engine sees them: clips in, items out, in order, whatever happens to a worker."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Pipe, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from pipeline.engine.messages import Alive, Cut, Done, Failed, Forget, Item, Job, Limits, Setup, Whole

_HELD_BYTES = 48 << 20  # of windows that wait for the network: ten of SlowFast
_AHEAD = 8  # clips per worker that may be finished before it is their turn
_PATIENCE = 1.0  # seconds between looks at the clock
_START_SECONDS = 120.0  # at least; a cold network drive needs many to give Python its modules


@dataclass
class _Inbox:
    """What came of one clip so far, and what is still to be asked for.

    All features are asked for at once. If that ends a worker, those that had not begun are asked for one by
    one, so that only the guilty one fails.
    """

    job: Job
    todo: list[tuple[str, ...]] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    items: deque[Item] = field(default_factory=deque)
    bytes: int = 0
    done: bool = False

    def part(self) -> Job:
        """Return what to ask for next."""
        return replace(self.job, features=self.todo[0])


class _Worker:
    """One process and what it works on."""

    def __init__(self, setup: bytes) -> None:
        self.channel, theirs = Pipe()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "pipeline.engine.decoder", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C on a terminal goes to a whole group; the parent alone decides
            env={**os.environ, **single, "PYTHONPATH": path},
        )
        theirs.close()
        self.inbox: _Inbox | None = None
        self.ready = False
        self.heard = time.monotonic()
        with contextlib.suppress(OSError):  # it died at once; reading will say so
            self.channel.send_bytes(setup)

    def give(self, inbox: _Inbox) -> None:
        """Start on a clip."""
        self.inbox, self.heard = inbox, time.monotonic()
        with contextlib.suppress(OSError):
            self.channel.send(inbox.part())

    def is_late(self, limit: float) -> bool:
        """Tell whether there was no sign of life for too long; starting is no part of a clip."""
        return time.monotonic() - self.heard > (limit if self.ready else max(limit, _START_SECONDS))

    def end(self) -> int:
        """End the process if it has not ended; return its exit code."""
        self.channel.close()
        self.process.kill()
        return self.process.wait()


class DecoderPool:
    """Processes that decode. One that crashes, hangs or takes too much memory costs its clip and is replaced.

    A thread of its own reads from them while the network computes. It stops reading when enough windows
    wait, and then the workers wait too.

    Args:
        setup: What they work with.
        workers: How many.
        limits: Of one clip.
    """

    def __init__(self, setup: Setup, workers: int, limits: Limits) -> None:
        # Once: what an extractor loads later must not travel with it.
        self._setup = bytes(ForkingPickler.dumps(setup))
        self._limits = limits
        self._workers = [_Worker(self._setup) for _ in range(workers)]
        self._changed = threading.Condition(threading.RLock())
        self._inboxes: deque[_Inbox] = deque()
        self._jobs: Iterator[Job] = iter(())
        self._held = 0
        self._error: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        with self._changed:
            self._closed = True
            for worker in self._workers:
                worker.process.kill()  # also frees the thread, if it waits for half a message
            self._changed.notify_all()
        if self._thread is not None:
            # Who was interrupted while it started cannot join it; it finds that all is closed, and ends.
            with contextlib.suppress(RuntimeError):
                self._thread.join()
        for worker in self._workers:
            worker.end()

    def stream(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Iterator[Item]]]:
        """Yield every job, in order, with its items as they come; consume them before the next job."""
        self._jobs = iter(jobs)
        with self._changed:
            self._fill()
            self._changed.notify_all()
        if self._thread is None:
            # One for the life of the pool: Linux ends the workers with the thread that started them.
            self._thread = threading.Thread(target=self._serve, name="decoders", daemon=True)
            self._thread.start()
        while True:
            with self._changed:
                if not self._inboxes:
                    break
                head = self._inboxes[0]
            yield head.job, self._items(head)
            with self._changed:
                self._inboxes.popleft()
                self._held -= head.bytes
                self._fill()
                self._changed.notify_all()

    def forget(self) -> None:
        """Let the workers close the files that they cut pieces from; once every job of a stream is done."""
        with self._changed:
            for worker in self._workers:
                if worker.inbox is None:
                    with contextlib.suppress(OSError):  # it has died, and holds none
                        worker.channel.send(Forget())

    def _items(self, inbox: _Inbox) -> Iterator[Item]:
        while True:
            with self._changed:
                while not inbox.items:
                    if self._error is not None:
                        raise self._error
                    if inbox.done:
                        return
                    self._changed.wait()
                item = inbox.items.popleft()
                size = _size(item)
                inbox.bytes -= size
                self._held -= size
                self._changed.notify_all()
            yield item

    def _fill(self) -> None:
        """Take jobs up to the number that may be under way."""
        while len(self._inboxes) < _AHEAD * len(self._workers) + 1:
            job = next(self._jobs, None)
            if job is None:
                return
            self._inboxes.append(_Inbox(job, [job.features]))

    def _serve(self) -> None:
        """Give out jobs and collect what comes, until the pool is closed."""
        try:
            while self._step():
                pass
        except BaseException as error:  # to be raised where items are consumed
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _step(self) -> bool:
        with self._changed:
            if self._closed:
                return False
            self._hand_out()
            readable = [w for w in self._workers if w.inbox is not None and self._may_read(w)]
            if not readable:  # until there is a job, or the network has taken some
                self._changed.wait(_PATIENCE)
                return True
        began = time.monotonic()
        ready = wait([w.channel for w in readable], timeout=min(_PATIENCE, self._limits.seconds / 4))
        stopped = time.monotonic() - began > self._limits.seconds / 2  # as by Ctrl-Z, and they with us
        for worker in readable:
            if worker.channel in ready:
                self._receive(worker)
            elif stopped:
                worker.heard = time.monotonic()
            elif worker.is_late(self._limits.seconds):
                self._replace(worker, "TimeLimitError", f"no sign of life for {self._limits.seconds:g} s")
        return True

    def _hand_out(self) -> None:
        waiting = [i for i in self._inboxes if not i.done and all(w.inbox is not i for w in self._workers)]
        for worker in list(self._workers):
            if worker.inbox is None and waiting:
                alive = worker if worker.process.poll() is None else self._renew(worker)
                alive.give(waiting.pop(0))

    def _may_read(self, worker: _Worker) -> bool:
        """Tell whether there is room; there always is for the clip whose turn it is, if it has nothing."""
        first = worker.inbox is self._inboxes[0] and not self._inboxes[0].items
        return first or self._held < _HELD_BYTES

    def _receive(self, worker: _Worker) -> None:
        try:
            item = worker.channel.recv()
        except (EOFError, OSError):
            self._replace(worker, "WorkerDiedError", "")
            return
        worker.heard = time.monotonic()
        assert worker.inbox is not None  # noqa: S101  # only busy workers are read
        with self._changed:
            if not worker.ready:  # its first word says that it has started
                worker.ready = True
            elif isinstance(item, Done):
                worker.inbox.todo.pop(0)
                worker.inbox.done = not worker.inbox.todo
                worker.inbox = None
            elif not isinstance(item, Alive):
                self._put(worker.inbox, item)
            self._changed.notify_all()

    def _replace(self, worker: _Worker, kind: str, reason: str) -> None:
        """Give up the clip that a worker was on; another takes its place when there is work."""
        code = worker.end()
        inbox = worker.inbox
        assert inbox is not None  # noqa: S101  # only busy workers are read
        reason = reason or f"the process that decoded it {_ending(code)}"
        with self._changed:
            asked = inbox.todo.pop(0)
            fresh = [name for name in asked if name not in inbox.begun]
            if len(asked) > 1:
                inbox.todo += [(name,) for name in fresh]
            for name in asked:
                if name not in inbox.ended and (len(asked) == 1 or name in inbox.begun):
                    self._put(inbox, Failed(name, kind, reason))
            inbox.done = not inbox.todo
            worker.inbox = None
            self._changed.notify_all()

    def _renew(self, worker: _Worker) -> _Worker:
        worker.end()
        fresh = self._workers[self._workers.index(worker)] = _Worker(self._setup)
        return fresh

    def _put(self, inbox: _Inbox, item: Item) -> None:
        size = _size(item)
        if isinstance(item, Cut | Whole | Failed):
            inbox.begun.add(item.feature)
        if isinstance(item, Whole | Failed):
            inbox.ended.add(item.feature)
        inbox.items.append(item)
        inbox.bytes += size
        self._held += size


def _size(item: Item) -> int:
    if isinstance(item, Whole):
        return item.features.values.nbytes + sum(map(len, item.features.pictures or ()))
    return item.window.data.nbytes if isinstance(item, Cut) else 0


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by signal {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
