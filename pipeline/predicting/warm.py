"""A predictor in a process of its own, which may be ended whatever it does."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Event
from typing import Any

from affectstack import AffectstackError
from pipeline.predicting.prediction import Prediction
from pipeline.predicting.recordings import PredictError

_TICK = 0.1  # seconds between looks at whether the answer is still wanted


class TookTooLongError(PredictError):
    """The work on a recording was ended."""


class UnwantedError(PredictError):
    """The work on a recording was ended, since nobody waits for it any more."""


@dataclass(frozen=True)
class Setup:
    """The first message to the process: what `Predictor` is made of."""

    experiment: Path
    overrides: tuple[str, ...]
    workers: int | None


@dataclass(frozen=True)
class Request:
    """A recording to be predicted."""

    path: Path
    one_speaker: bool


class WarmPredictor:
    """Keeps a `Predictor` ready in another process; a new one takes its place when that has ended.

    On Linux the process ends with the thread that started it, so that none is left behind.

    Args:
        experiment: The experiment file.
        overrides: See `Predictor`.
        workers: See `Predictor`.
    """

    def __init__(self, experiment: Path, overrides: Sequence[str] = (), workers: int | None = None) -> None:
        self._setup = Setup(experiment, tuple(overrides), workers)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection[Any, Any] | None = None

    def start(self, unwanted: Event | None = None) -> None:
        """Start the process and wait until it is ready.

        Args:
            unwanted: See `predict`.

        Raises:
            AffectstackError: What `Predictor` refuses.
            UnwantedError: If it was ended.
        """
        channel, theirs = Pipe()
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "pipeline.predicting.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C on a terminal goes to a whole group; the parent alone decides
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()
        self._channel = channel
        self._ask(self._setup, float("inf"), unwanted)

    def predict(
        self, path: Path, seconds: float, *, one_speaker: bool = False, unwanted: Event | None = None
    ) -> Prediction:
        """Predict a recording.

        Args:
            path: The file.
            seconds: How long that may take; then the process is ended.
            one_speaker: See `Predictor.predict`.
            unwanted: Set, by another thread, when nobody waits for the answer; then the process is ended.

        Raises:
            PredictError: If nothing can be said of it.
            TookTooLongError: If it took longer.
            UnwantedError: If it was ended.
        """
        if self._process is None or self._process.poll() is not None:
            self.start(unwanted)
        answer = self._ask(Request(path, one_speaker), seconds, unwanted)
        assert isinstance(answer, Prediction)  # noqa: S101  # our own protocol
        return answer

    def close(self) -> None:
        """End the process, and with it those that decode for it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._channel is not None:
            self._channel.close()
        self._process = self._channel = None

    def _ask(self, message: Any, seconds: float, unwanted: Event | None = None) -> Any:
        assert self._channel is not None  # noqa: S101  # there is one while there is a process
        try:
            self._channel.send(message)
            self._wait(self._channel, seconds, unwanted or Event())
            answer = self._channel.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise PredictError("the process that predicts ended; try again, or another file") from error
        if isinstance(answer, AffectstackError):
            raise answer
        return answer

    def _wait(self, channel: "Connection[Any, Any]", seconds: float, unwanted: Event) -> None:
        """Wait for an answer; end the process that gives none in time, or to nobody."""
        until = time.monotonic() + seconds
        while not channel.poll(min(_TICK, max(0.0, until - time.monotonic()))):
            if unwanted.is_set():
                self.close()
                raise UnwantedError("nobody waits for it any more; it was stopped")
            if time.monotonic() >= until:
                self.close()
                raise TookTooLongError(f"took longer than {seconds:g} s, and was stopped")
