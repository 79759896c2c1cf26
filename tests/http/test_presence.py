"""A caller who leaves before a whole answer is there: our own machines stop, a paid call goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.types import Call, Reply
from tests.flow.house import LOCAL, PREMIUM, build, reply
from tests.http.conftest import KEYS, Api, open_api

LEAVES_AFTER_S = 0.4


class Slow:
    """A model that takes its time, and remembers whether it was let finish."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ended: list[str] = []

    async def __call__(self, call: Call) -> Reply:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.ended.append("stopped")
            raise
        self.ended.append("finished")
        return reply()


async def ask(api: Api, body: dict[str, Any], path: str = "/route") -> list[dict[str, Any]]:
    """One request over ASGI whose caller hangs up after LEAVES_AFTER_S; what was sent to nobody."""
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    waiting.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
    asyncio.get_running_loop().call_later(LEAVES_AFTER_S, waiting.put_nowait, {"type": "http.disconnect"})
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {KEYS['operator']}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "http_version": "1.1", "scheme": "http", "server": ("api", 80), "client": None}
    await api.app(scope, waiting.get, send)
    return sent


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/route", {"input": "Hi!", "model": LOCAL}),
        ("/api/local-llm/generate", {"prompt": "Hi!", "model": LOCAL}),
        ("/models/infer", {"input": "Hi!", "model_id": LOCAL}),
    ],
)
async def test_a_local_model_stops_when_its_caller_leaves(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    slow = Slow(10.0)
    async with open_api(build(local=slow), tmp_path) as api:
        sent = await asyncio.wait_for(ask(api, body, path), 5)
        (row,) = api.house.rows()
    assert slow.ended == ["stopped"]
    assert sent[0]["status"] == 499
    assert (row["error_code"], row["cost_nanousd"]) == ("abandoned", 0)


async def test_a_paid_call_goes_on_and_is_settled_at_its_cost(tmp_path: Path) -> None:
    slow = Slow(0.8)
    async with open_api(build(premium=slow), tmp_path) as api:
        sent = await asyncio.wait_for(ask(api, {"input": "Hi!", "model": PREMIUM}), 5)
        (row,) = api.house.rows()
    assert slow.ended == ["finished"]
    assert sent[0]["status"] == 200
    assert (row["error_code"], row["cost_nanousd"] > 0) == (None, True)


async def test_who_waits_gets_the_answer(tmp_path: Path) -> None:
    async with open_api(build(local=Slow(0.35)), tmp_path) as api:
        response = await api.route({"input": "Hi!", "model": LOCAL})
    assert response.status_code == 200
