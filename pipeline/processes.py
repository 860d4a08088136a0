"""Worker processes, made the same way for every stage."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from threading import Thread
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")


def expect_pool() -> None:
    """Begin with what a pool takes seconds for, so that it is there when the work is known."""
    _context()
    forkserver.ensure_running()


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes that compute on one thread each.

    They are forked from a process that imported what they need and did nothing else: a fork of this one would
    inherit the threads of PyTorch and FFmpeg in the middle of what they do.
    """
    return ProcessPoolExecutor(workers, _context(), _prepare)


def spread(
    tasks: Sequence[T],
    workers: int,
    here: Callable[[T], R],
    there: Callable[..., R],
    *common: object,
) -> Iterator[R]:
    """Do independent tasks, in processes where that pays; yield what comes of them as they end.

    Args:
        tasks: In the order of beginning.
        workers: Processes; with one, everything is done in this one.
        here: Does a task in this process.
        there: Does the same in another: called with `common` and the task.
        common: What all tasks need there.
    """
    if workers == 1 or len(tasks) <= 1:
        yield from map(here, tasks)
        return
    pool, rest = worker_pool(min(workers, len(tasks))), list(tasks)
    try:
        starting = Thread(target=lambda: pool.submit(int).result(), daemon=True)
        starting.start()
        with threadpool_limits(1):
            while rest and starting.is_alive():  # for seconds, in which the first tasks are done here
                yield here(rest.pop(0))
        for future in as_completed([pool.submit(there, *common, task) for task in rest]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _context() -> BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.training"])
    return context


def _prepare() -> None:
    from pipeline.cli import quieten

    quieten()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.environ["OMP_NUM_THREADS"] = "1"  # for what is loaded later, PyTorch above all
    threadpool_limits(1)
