"""Processes, set up the same way in every stage."""

import contextlib
import ctypes
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let memory that is freed stay with this process for what it needs next, where glibc is in charge.

    glibc gives large blocks back at once, and each layer of a network then waits for fresh pages: on two
    cores a window of SlowFast takes 0.36 s in place of 0.32 s. The peak is the same; the process stays there.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes that compute on one thread each.

    A forked child would inherit the threads of torch and FFmpeg in the middle of what they do.
    """
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare)


def _prepare() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    from pipeline.cli import quieten

    quieten()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)
    threadpool_limits(1)
