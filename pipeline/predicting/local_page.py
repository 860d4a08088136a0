"""The web application behind `python -m pipeline.serve`: one page, and one clip at a time.

It is for the person at this machine alone. Browsers let any web site send requests to 127.0.0.1, so whatever
does not come from our own page is refused: other host names (a site whose name was pointed here), other
origins, and bodies of the kinds that forms can send.
"""

import asyncio
import base64
import hashlib
import re
import socket
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.predicting.prediction import Prediction
from pipeline.predicting.recordings import PredictError
from pipeline.predicting.timeline import table
from pipeline.predicting.warm import TookTooLongError, WarmPredictor
from pipeline.report.page import SERIES, render

BODY = "application/octet-stream"  # a kind of body that no form of another site can send unasked
# An upload comes from this machine, or over a tunnel to it. It holds the only place there is.
_STALLED = 30.0  # seconds without a byte of it
_SLOWEST = 1e6  # bytes per second of all of it, beside one such stall
# What decides how a file is decoded, and so the only part of its name that is kept.
_MEDIA = re.compile(
    r"\.(mp4|mov|m4v|m4a|mkv|webm|avi|mpe?g|ts|flv|wmv|asf|3gp|wav|flac|ogg|mp3|aac|aiff?|caf|amr)"
)


class _RefusedError(Exception):
    """An upload that is not looked at; the message is for its sender."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class LocalPage:
    """Serves the page and predicts what is dropped on it.

    Args:
        predictor: Started; asked by one thread, in which it must have been started.
        thread: That thread.
        name: Of the experiment.
        port: Where the page is, on 127.0.0.1.
        max_bytes: Of an upload.
        max_seconds: Of work on it.
    """

    def __init__(
        self,
        predictor: WarmPredictor,
        thread: ThreadPoolExecutor,
        name: str,
        port: int,
        max_bytes: int,
        max_seconds: float,
    ) -> None:
        self._predictor = predictor
        self._thread = thread
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._answering: asyncio.Task[Response] | None = None
        limits = {"max_bytes": max_bytes, "seconds": max_seconds}
        self._page = render("serve.html", name=name, series=SERIES, **limits)
        routes = [Route("/", self._show), Route("/predict", self._predict, methods=["POST"])]
        self.app: ASGIApp = _OwnPageOnly(Starlette(routes=routes), port, _policy(self._page))

    async def _show(self, request: Request) -> Response:
        return HTMLResponse(self._page)

    def end(self) -> None:
        """Give up what is under way, and tell who waits for it."""
        if self._answering is not None:
            self._answering.cancel()

    async def _predict(self, request: Request) -> Response:
        if self._answering is not None:
            busy = "another clip is being worked on; try again when it is done"
            return JSONResponse({"error": busy}, 503)
        self._answering = asyncio.create_task(self._answer(request))
        try:
            return await self._answering
        except asyncio.CancelledError:
            return JSONResponse({"error": "the page was ended before this clip was through"}, 503)
        except _RefusedError as error:
            return JSONResponse({"error": str(error)}, error.status)
        finally:
            self._answering = None

    async def _answer(self, request: Request) -> Response:
        """Keep the upload in a folder of its own, under a name of ours, until it is predicted."""
        name = PurePosixPath(request.query_params.get("name", "").replace("\\", "/")).name
        suffix = PurePosixPath(name).suffix.lower()
        with tempfile.TemporaryDirectory(prefix="affectstack-") as folder:
            path = Path(folder, f"clip{suffix if _MEDIA.fullmatch(suffix) else ''}")
            await self._receive(request, path)
            one_speaker = request.query_params.get("one_speaker") == "1"
            work = partial(self._predictor.predict, path, self._max_seconds, one_speaker=one_speaker)
            try:
                prediction = await self._while_wanted(request, work)
            except TookTooLongError as error:
                raise _RefusedError(504, f"{error}; see --max-seconds") from error
            except PredictError as error:
                raise _RefusedError(422, str(error)) from error
        told = prediction.as_json() | {"file": name}
        return JSONResponse(told | {"csv": table(prediction, name).decode()})

    async def _while_wanted(self, request: Request, work: Callable[..., Prediction]) -> Prediction:
        """Work in the predictor's thread, until the sender leaves or the page ends."""
        unwanted = Event()
        working = asyncio.get_running_loop().run_in_executor(self._thread, partial(work, unwanted=unwanted))
        leaving = asyncio.create_task(_left(request))
        either: set[asyncio.Future[Any]] = {working, leaving}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            unwanted.set()
            await asyncio.gather(working, return_exceptions=True)  # now, or as soon as its process has ended
        return working.result()

    async def _receive(self, request: Request, path: Path) -> None:
        """Write the body of a request to a file.

        Raises:
            _RefusedError: If it is too large, of another kind, stops coming, or comes too slowly.
        """
        if request.headers.get("content-type") != BODY:
            raise _RefusedError(415, f"expected a body of type {BODY}")
        too_large = _RefusedError(413, f"the file is larger than {self._max_bytes / 1e6:g} MB; see --max-mb")
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self._max_bytes:
            raise too_large
        try:
            async with asyncio.timeout(_STALLED + self._max_bytes / _SLOWEST):
                await self._keep(request, path, too_large)
        except (TimeoutError, ClientDisconnect) as error:
            raise _RefusedError(408, "the upload stopped before its end, or took too long") from error
        except OSError as error:
            raise _RefusedError(507, f"the file cannot be kept ({error.strerror})") from error

    async def _keep(self, request: Request, path: Path, too_large: _RefusedError) -> None:
        held = 0
        chunks = request.stream()
        with path.open("wb") as file:
            while True:
                async with asyncio.timeout(_STALLED):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                held += len(chunk)
                if held > self._max_bytes:
                    raise too_large
                file.write(chunk)


class PageServer(uvicorn.Server):
    """Ends what the page has under way before it ends itself, so that its sender is answered.

    Args:
        config: Of the server.
        page: What is served.
    """

    def __init__(self, config: uvicorn.Config, page: LocalPage) -> None:
        super().__init__(config)
        self._page = page

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the page, then the server."""
        self._page.end()
        await super().shutdown(sockets)


class _OwnPageOnly:
    """Answers requests to this machine's own names, from our own page; says what the page may do.

    Args:
        app: What to protect.
        port: Where it is served.
        policy: The content security policy of its page.
    """

    def __init__(self, app: ASGIApp, port: int, policy: str) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cache-control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        app: ASGIApp = self._app if refusal is None else refusal
        await app(scope, receive, sending)

    def _refusal(self, headers: Headers) -> Response | None:
        """Return the answer to a request that does not come from our own page, or None."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            return JSONResponse({"error": f"this page is at {min(self._hosts)}, and nowhere else"}, 421)
        foreign = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if foreign or (origin is not None and origin not in self._origins):
            return JSONResponse({"error": "requests of other sites are refused"}, 403)
        return None


async def _left(request: Request) -> None:
    """Wait until the sender of a request, whose body was read, is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _policy(page: str) -> str:
    """Return a content security policy that allows just what a page holds itself."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_sums(re.findall(r'<style>(.*?)</style>', page, re.DOTALL))}",
            f"script-src {_sums(re.findall(r'<script>(.*?)</script>', page, re.DOTALL))}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _sums(texts: Iterable[str]) -> str:
    sums = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{own}'" for own in sums)
