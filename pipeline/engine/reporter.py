"""Telling people and machines how an extraction goes."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.cli import say
from pipeline.engine.collect import Made
from pipeline.engine.messages import Failed, Job
from pipeline.progress import EVERY_SECONDS, Meter
from pipeline.store import ClipKey, StoreWriteError


class Reporter:
    """A progress bar or plain lines for people, one JSON object per line for machines.

    Args:
        wanted: How many features want each clip, by position in the manifest. A clip is done when all have
            it: those that read media get it together, others one after the other.
        log: The file that the JSON lines are appended to.
    """

    def __init__(self, wanted: Mapping[int, int], log: Path) -> None:
        self._meter = Meter("  extract", len(wanted), "clips")
        self._wanted = dict(wanted)
        self._told: dict[ClipKey, set[str]] = {}
        self._log = log
        self._media_seconds = 0.0
        self._bytes = 0
        self._logged = 0.0

    def __enter__(self) -> Self:
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._log.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StoreWriteError(f"cannot write {self._log}: {error.strerror}") from error
        self._write("start", clips=self._meter.total)
        self._meter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.__exit__(kind, error, trace)
        self._write("end", **self._state(), reason="done" if kind is None else kind.__name__)
        with contextlib.suppress(OSError):
            self._file.close()
        if kind is None and self._meter.done:
            rate = self._meter.done / max(self._meter.seconds, 1e-9)
            say(f"  {self._meter.seconds:.1f} s, {rate:.1f} clips/s{self._extra()}")

    def clip(self, job: Job, seconds: float | None, failures: Sequence[Failed]) -> None:
        """Count a clip that is through, for the features of the job."""
        for failure in failures:
            self._failure(job.take.key, failure)
        self._wanted[job.position] -= len(job.features)
        if self._wanted[job.position] == 0:
            self._media_seconds += seconds or 0.0
            self._meter.add(1, self._extra())
            self._log_progress()

    def note(self, text: str) -> None:
        """Print a line."""
        say(f"  {text}")
        self._write("note", text=text)

    def shard(self, made: Made) -> None:
        """Count a shard that was published, and the clips that a network could make nothing of."""
        record = made.record
        self._bytes += record.bytes
        for failure in record.failures:
            key = failure.clip_id, failure.view
            if made.plan.feature not in self._told.get(key, ()):
                self._failure(key, Failed(made.plan.feature, failure.type, failure.message))
        self._write(
            "shard",
            feature=made.plan.feature,
            shard=made.shard,
            clips=len(record.ids),
            failed=len(record.failures),
            bytes=record.bytes,
            sha256=record.sha256,
        )

    def _failure(self, key: ClipKey, failure: Failed) -> None:
        self._told.setdefault(key, set()).add(failure.feature)
        self._meter.failed = len(self._told)
        self._write(
            "failure",
            clip_id=key[0],
            view=key[1],
            feature=failure.feature,
            type=failure.type,
            message=failure.message,
            **({"traceback": failure.detail} if failure.detail else {}),
        )

    def _log_progress(self) -> None:
        """Write how it goes now and then, whether a person watches a bar or not."""
        if self._meter.seconds - self._logged >= EVERY_SECONDS and self._meter.done < self._meter.total:
            self._logged = self._meter.seconds
            self._write("progress", **self._state())

    def _extra(self) -> str:
        hours = f", {self._media_seconds / max(self._meter.seconds, 1e-9):.1f} h of media/h"
        return (hours if self._media_seconds else "") + f", {self._bytes / 1e9:.3f} GB"

    def _state(self) -> dict[str, Any]:
        return {
            "done": self._meter.done,
            "clips": self._meter.total,
            "failed": self._meter.failed,
            "seconds": round(self._meter.seconds, 3),
            "media_seconds": round(self._media_seconds, 3),
            "bytes": self._bytes,
        }

    def _write(self, event: str, **fields: Any) -> None:
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **fields}, ensure_ascii=False)
        with contextlib.suppress(OSError):  # a full disk; the shard that does not fit says so, and better
            self._file.write(f"{line}\n")
