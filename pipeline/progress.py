"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVERY_SECONDS = 10.0


class Meter:
    """Counts work done and says how fast it goes and how long it will take.

    Args:
        title: What is being done.
        total: How many units there are.
        unit: Their name in the plural.

    Attributes:
        failed: How many units came to nothing; whoever counts them sets it.
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0
        self.failed = 0
        self._began = self._said = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, done: int, extra: str = "") -> None:
        """Count finished units."""
        self.done += done
        now = time.monotonic()
        rate = self.done / max(now - self._began, 1e-9)
        if self._bar is not None and self._task is not None:
            text = f"{rate:.1f} {self.unit}/s{extra}" + (f", {self.failed} failed" if self.failed else "")
            self._bar.update(self._task, completed=self.done, rate=text)
        elif now - self._said >= EVERY_SECONDS and self.done < self.total:
            self._said = now
            left = (self.total - self.done) / rate
            failed_text = f", {self.failed} failed" if self.failed else ""
            print(  # noqa: T201  # the plain form of a progress bar
                f"{self.title}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s{extra}, "
                f"{left:.0f} s left{failed_text}",
                flush=True,
            )

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began
