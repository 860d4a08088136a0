"""Ends what a process has started, and removes the folder it worked in, when that process is gone.

Runs as a script of its own, `python -I guard.py FOLDER`, which loads nothing else of this package. It reads
the ids of process groups from its standard input, and `done` if nothing is left to do: whoever is killed
cannot clear up, but the system closes what it held.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_TRIES, _PAUSE = 50, 0.1  # seconds; what is being killed may still write


class Guard:
    """Looks after programs, each in a process group of its own, and their folder.

    Args:
        folder: Removed if this process dies within the `with` block.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603  # our own file
            [sys.executable, "-I", __file__, self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tell("done")
        self._process.communicate()

    def tell(self, word: str) -> None:
        """Name a process group; a guard that somebody ended needs to know no more."""
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()


def main() -> None:
    """Wait until nobody can say any more, then clear up unless that was done."""
    words = sys.stdin.read().split()
    if "done" in words:
        return
    for group in map(int, words):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for _ in range(_TRIES):
        shutil.rmtree(sys.argv[1], ignore_errors=True)
        if not Path(sys.argv[1]).exists():
            return
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
