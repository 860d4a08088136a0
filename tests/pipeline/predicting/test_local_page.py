"""The page's application, asked without a server; `test_serve.py` asks a real one."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from starlette.types import Message

from pipeline.predicting import local_page
from pipeline.predicting.local_page import BODY, LocalPage
from pipeline.predicting.warm import WarmPredictor

HOST = b"127.0.0.1:8765"


def test_an_upload_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon the next byte comes: whoever sends holds the only place."""
    monkeypatch.setattr(local_page, "_STALLED", 0.2)
    sent: list[Message] = []
    dripped = 0

    async def receive() -> Message:
        nonlocal dripped
        await asyncio.sleep(0.05)
        dripped += 1
        assert dripped < 1000, "nobody gave it up"
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as thread:
        page = LocalPage(WarmPredictor(Path("experiment.yaml")), thread, "drip", 8765, 2000, 60.0)
        headers = [(b"host", HOST), (b"content-type", BODY.encode())]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": headers,
        }
        asyncio.run(page.app(scope, receive, send))
    assert sent[0]["status"] == 408
    told = json.loads(sent[1]["body"])
    assert told == {"error": "the upload stopped before its end, or took too long"}
