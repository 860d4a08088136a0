"""Worker processes, made the same way for every stage."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import BaseContext


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


def _context() -> BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.training"])
    return context


def _prepare() -> None:
    from threadpoolctl import threadpool_limits

    from pipeline.cli import quieten

    quieten()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.environ["OMP_NUM_THREADS"] = "1"  # for what is loaded later, PyTorch above all
    threadpool_limits(1)
