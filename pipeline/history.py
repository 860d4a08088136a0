"""What was done to an experiment: the commands, when, and what they cost, in `history.jsonl` beside it."""

import json
import os
import resource
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from affectstack import __version__

STAGES = frozenset({"extract", "finetune", "train_heads", "posteriors", "fuse"})
_FILE = "history.jsonl"
_folders: dict[Path, None] = {}  # of the experiments that this command has read


def begin() -> "Stopwatch":
    """Begin a command, which has read no experiment yet."""
    _folders.clear()
    return Stopwatch.start()


def opened(folder: Path) -> None:
    """Note that the running command works on the experiment in a folder."""
    _folders[folder] = None


@dataclass(frozen=True)
class Stopwatch:
    """When a command began, and what its process and its children had used until then."""

    began: datetime
    clock: float
    used: float

    @classmethod
    def start(cls) -> Self:
        """Begin now."""
        return cls(datetime.now(UTC), time.monotonic(), _cpu_seconds())

    def entry(self, code: int | None) -> dict[str, Any]:
        """Return what is known of the command now; a code of None says that it goes on."""
        peak = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return {
            "command": f"python -m pipeline.{_command()} {shlex.join(sys.argv[1:])}".strip(),
            "began": self.began.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self.clock, 1),
            "cpu_seconds": round(_cpu_seconds() - self.used, 1),
            "peak_mb": round(peak / 1024),
            "exit_code": code,
            "affectstack": __version__,
        }

    def stop(self, code: int) -> None:
        """Write what a stage cost beside every experiment that it read; one line, appended whole."""
        if _command() in STAGES:
            for folder in _folders:
                line = json.dumps(self.entry(code)) + "\n"
                with suppress(OSError):  # a full disk or a folder that is read-only; the stage has said so
                    handle = os.open(folder / _FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                    try:
                        os.write(handle, line.encode())
                    finally:
                        os.close(handle)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return what was done to the experiment in a folder, oldest first; lines that are no entry are not."""
    try:
        lines = (folder / _FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and {"command", "began", "seconds"} <= entry.keys():
                found.append(entry)
    return found


def _command() -> str:
    """Return the name of the running command, as in `python -m pipeline.NAME`."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name.removesuffix(".py")
    return name.rpartition(".")[2]


def _cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in usage)
