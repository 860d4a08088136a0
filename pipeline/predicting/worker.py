"""The process behind a `WarmPredictor`; runs as `python -m pipeline.predicting.worker DESCRIPTOR`."""

import contextlib
import sys
from multiprocessing.connection import Connection
from typing import Any

from affectstack import AffectstackError
from pipeline.cli import quieten
from pipeline.engine.decoder import settle
from pipeline.predicting.predictor import Predictor
from pipeline.predicting.recordings import PredictError
from pipeline.predicting.warm import Request, Setup


def main() -> None:
    """Make a predictor and serve one parent until it ends."""
    channel: Connection[Any, Any] = Connection(int(sys.argv[1]))
    settle()
    quieten()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(channel)


def _serve(channel: "Connection[Any, Any]") -> None:
    setup = channel.recv()
    assert isinstance(setup, Setup)  # noqa: S101  # our own protocol
    try:
        predictor = Predictor(setup.experiment, setup.overrides, workers=setup.workers)
    except AffectstackError as error:
        channel.send(PredictError(str(error)))
        return
    with predictor:
        channel.send(None)
        while True:
            request = channel.recv()
            assert isinstance(request, Request)  # noqa: S101  # our own protocol
            try:
                channel.send(predictor.predict(request.path, one_speaker=request.one_speaker))
            except AffectstackError as error:
                channel.send(PredictError(str(error)))


if __name__ == "__main__":
    main()
