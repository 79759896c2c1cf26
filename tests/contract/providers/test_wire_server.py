"""The wire server itself: its control interface, its recordings, its labels and its counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.adapters.wire.answers import Replay, instance
from orchestrator.adapters.wire.app import WireApp
from orchestrator.adapters.wire.behaviour import Behaviour
from orchestrator.adapters.wire.server import Wire, serve
from orchestrator.core.errors import ConfigError

RECORDS = (
    {"prompt": "Hi!", "model": None, "text": "Hello from the recording.", "output_tokens": 6, "input_tokens": 2},
    {"prompt": "Hi!", "model": "gpt-4o", "text": "Hello from gpt-4o's recording."},
)


class Client:
    """Speaks to one wire server."""

    def __init__(self, wire: Wire, session: aiohttp.ClientSession) -> None:
        self.wire, self._session = wire, session

    async def post(self, path: str, body: Any) -> tuple[int, Any, Any]:
        async with self._session.post(self.wire.url + path, json=body) as response:
            return response.status, await response.json(), response.headers

    async def get(self, path: str) -> Any:
        async with self._session.get(self.wire.url + path) as response:
            return await response.json()

    async def chat(self, prompt: str = "Hi!", model: str = "gpt-4o", **more: Any) -> tuple[int, Any, Any]:
        messages = [{"role": "user", "content": prompt}]
        return await self.post("/v1/chat/completions", {"model": model, "messages": messages, **more})


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serve(WireApp(replay=Replay(RECORDS))) as wire, aiohttp.ClientSession() as session:
        yield Client(wire, session)


@pytest.mark.parametrize(
    ("prompt", "model", "text", "label"),
    [
        ("Hi!", "gpt-4o", "Hello from gpt-4o's recording.", "replay"),
        ("Hi!", "deepseek-chat", "Hello from the recording.", "replay"),
        (
            "Other",
            "gpt-4o",
            "This is a synthetic answer: no model was asked. The wire server was sent about 6 tokens for gpt-4o.",
            "synthetic",
        ),
    ],
)
async def test_each_answer_says_whether_it_was_recorded(
    client: Client, prompt: str, model: str, text: str, label: str
) -> None:
    status, body, headers = await client.chat(prompt, model)
    assert (status, body["choices"][0]["message"]["content"]) == (200, text)
    assert headers["x-pennyroute-wire"] == label


async def test_recorded_counts_are_reported(client: Client) -> None:
    _, body, _ = await client.chat(model="deepseek-chat")
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (2, 6)


async def test_full_usage_reports_max_tokens(client: Client) -> None:
    await client.post("/_control/default", {"usage_mode": "full", "usage": {"input_tokens": 100}, "times": None})
    for _ in range(2):
        _, body, _ = await client.chat("Other", max_tokens=50)
        assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (100, 50)


async def test_a_script_is_met_in_order_per_model_and_then_the_default(client: Client) -> None:
    lines = [{"do": "error", "status": 529, "model": "b"}, {"do": "error", "status": 500, "times": 2}]
    assert (await client.post("/_control/script", {"behaviours": lines}))[1] == {"remaining": 2}
    statuses = [(await client.chat(model=model))[0] for model in ("a", "b", "a", "a")]
    assert statuses == [500, 529, 500, 200]


async def test_what_was_done_is_counted_per_model(client: Client) -> None:
    await client.post("/_control/script", {"behaviours": [{"do": "error", "status": 429}, {"do": "error"}]})
    for _ in range(3):
        await client.chat(model="m")
    assert (await client.get("/_control/counts"))["models"]["m"] == {
        "requests": 3,
        "answered": 1,
        "refused": 1,
        "failed": 1,
        "cut": 0,
        "left": 0,
        "input_tokens": 2,
        "output_tokens": 6,
    }
    await client.post("/_control/reset", {})
    assert (await client.get("/_control/counts"))["total"]["requests"] == 0


async def test_a_share_of_failures_is_the_same_for_the_same_seed() -> None:
    seen = []
    for _ in range(2):
        app = WireApp(Behaviour(times=None, fail_share=0.5), seed=7)
        seen.append([app.script.next("m").do for _ in range(40)])
    assert seen[0] == seen[1]
    assert 8 < seen[0].count("error") < 32


@pytest.mark.parametrize(
    ("line", "words"),
    [({"do": "dance"}, "do: Input should be"), ({"speed": 3}, "speed: Extra inputs"), ({"status": 200}, "status")],
)
async def test_a_wrong_behaviour_is_explained(client: Client, line: Any, words: str) -> None:
    status, body, _ = await client.post("/_control/script", {"behaviours": [line]})
    assert status == 400
    assert words in body["error"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/messages", {"model": "m", "messages": [{"role": "user", "content": "x"}]}, "max_tokens: Field required"),
        (
            "/v1/messages",
            {"model": "m", "max_tokens": 5, "temperature": 1, "messages": [{"role": "user", "content": "x"}]},
            "temperature: Extra inputs are not permitted",
        ),
        ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": []}, "at least one message"),
        ("/v1/chat/completions", {"model": "m"}, "Missing required parameter: 'messages'."),
        ("/v1/chat/completions", {"messages": [5], "model": "m"}, "messages[0].role"),
        ("/v1/embeddings", {"model": "m", "input": 5}, "'input' a string or a list of strings"),
    ],
)
async def test_what_a_provider_would_refuse_is_refused(client: Client, path: str, body: Any, words: str) -> None:
    status, answer, _ = await client.post(path, body)
    assert status == 400
    assert words in answer["error"]["message"]


async def test_embeddings_are_of_unit_length_and_the_same_for_the_same_text(client: Client) -> None:
    sent = {"model": "m", "input": ["a", "b", "a"], "dimensions": 16}
    _, body, headers = await client.post("/v1/embeddings", sent)
    first, second, third = (item["embedding"] for item in body["data"])
    assert first == third != second
    assert sum(value * value for value in first) == pytest.approx(1.0, abs=1e-5)
    assert headers["x-pennyroute-wire"] == "synthetic"


def test_an_instance_has_every_property_and_the_first_of_an_enum() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer", "minimum": 3},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "minItems": 2},
            "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        },
    }
    assert instance(schema) == {"kind": "a", "count": 3, "tags": ["synt", "synt"], "maybe": True}


def test_a_broken_recording_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"prompt": "a", "text": "b"}\n{"prompt": "a"}\n')
    with pytest.raises(ConfigError, match=r'answers.jsonl:2: a recorded answer needs the strings "prompt" and "text"'):
        Replay.load(path)


def test_the_command_tells_its_address_and_stops_on_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(RECORDS[0]))
    command = [sys.executable, "-m", "orchestrator.adapters.wire", "--replay", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 0
    assert line.startswith("wire server on http://127.0.0.1:")
    assert line.endswith("(1 recorded answers, else synthetic)\n")
