"""Worker processes, made the same way for every stage."""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor


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
