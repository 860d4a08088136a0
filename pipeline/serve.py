"""`python -m pipeline.serve`: a page on this machine where a clip is dropped and predicted."""

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Annotated

import typer

from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    ExperimentOption,
    SetOption,
    WorkersOption,
    run,
    say,
)
from pipeline.experiment import load
from pipeline.options import ConfigError
from pipeline.predicting.warm import WarmPredictor

app = typer.Typer(add_completion=False)
_LOWEST_PORT, _HIGHEST_PORT = 1024, 65535
_HOST = "127.0.0.1"  # nobody but the people at this machine


def _usable(port: int) -> int:
    """Refuse the ports of the system's own services; browsers leave that of HTTP out of the page's name."""
    if port != 0 and not _LOWEST_PORT <= port <= _HIGHEST_PORT:
        raise typer.BadParameter(f"{port} is not in the range {_LOWEST_PORT} to {_HIGHEST_PORT}, nor 0")
    return port


@app.command()
def serve(
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    port: Annotated[
        int, typer.Option(callback=_usable, help="1024 or more; 0 takes one that is free.")
    ] = 8765,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Of a clip.")] = 200.0,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Of work on a clip.")] = 300.0,
    workers: WorkersOption = None,
    overrides: SetOption = None,
) -> int:
    """Show a page on 127.0.0.1 where a clip is dropped and its posteriors appear; Ctrl-C ends it."""
    try:
        import uvicorn

        from pipeline.predicting.local_page import LocalPage, PageServer
    except ImportError as error:
        raise ConfigError(f"the page needs {error.name}; install it with: pip install '.[demo]'") from error
    load(experiment, overrides or ()).refuse_attributes("`serve`")
    with _listening(port) as listener, ThreadPoolExecutor(1) as thread:
        predictor = WarmPredictor(experiment, overrides or (), workers)
        ended = Event()
        try:
            thread.submit(predictor.start, ended).result()
            port = listener.getsockname()[1]
            page = LocalPage(predictor, thread, experiment.stem, port, round(max_mb * 1e6), max_seconds)
            config = uvicorn.Config(
                page.app,
                log_level="warning",
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
            say(f"open http://{_HOST}:{port} in a browser; Ctrl-C ends it")
            PageServer(config, page).run(sockets=[listener])  # until a signal ends it, as any command
        finally:
            ended.set()  # if it is starting still
            thread.submit(predictor.close).result()
    return EXIT_OK


def _listening(port: int) -> socket.socket:
    """Return a socket that listens, before anything takes time."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
        listener.listen()  # who comes before all is ready waits
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port"
        ) from error
    return listener


if __name__ == "__main__":
    run(app)
