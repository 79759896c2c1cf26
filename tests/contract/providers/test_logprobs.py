"""Log-probabilities of an open server's tokens: asked for, read whole and in pieces, and never a reason to fail."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.adapters.providers.openai_wire import OpenAIWire
from orchestrator.adapters.providers.plain import PlainProvider
from orchestrator.adapters.wire.app import WireApp
from orchestrator.adapters.wire.server import serve
from orchestrator.core.types import Options
from orchestrator.ports import Provider
from registry.schema import Usage
from tests.contract.providers.conftest import Way, sdk_provider

TOOL = {"name": "see", "description": "", "parameters": {"type": "object"}}


@pytest.fixture(params=("server-sdk", "server-plain"))
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    async with serve(WireApp()) as wire:
        inner = sdk_provider("server", wire.url)
        provider: Provider = PlainProvider(inner) if request.param.endswith("plain") else inner
        yield Way(name=request.param, provider=provider, wire=wire, model="qwen2.5")
        await provider.close()


async def test_an_open_server_is_asked_for_log_probabilities_and_their_mean_is_read(server: Way) -> None:
    server.script(text="Paris is its capital.", logprob=-0.25)
    reply = await server.provider.complete(server.call())
    assert server.sent["logprobs"] is True
    assert reply.text == "Paris is its capital."
    assert reply.mean_logprob == -0.25


async def test_a_streams_pieces_bring_theirs(server: Way) -> None:
    server.script(text="Paris is the capital of France and has been so for long.", logprob=-1.5)
    async with server.provider.stream(server.call()) as deltas:
        read = [delta async for delta in deltas]
    assert len(read) > 2
    assert read[-1].reply is not None
    assert read[-1].reply.mean_logprob == -1.5


async def test_paid_providers_are_not_asked(way: Way) -> None:
    reply = await way.provider.complete(way.call())
    assert "logprobs" not in way.sent
    assert reply.mean_logprob is None


async def test_beside_tools_they_are_not_asked_for(server: Way) -> None:
    await server.provider.complete(server.call(options=Options(tools=(TOOL,))))
    assert "logprobs" not in server.sent


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        (-0.5, {"content": [{"logprob": -0.25}, {"logprob": -0.75}]}),
        (-10.0, {"content": [{"logprob": -9999.0}, {"logprob": 0}]}),
        (0.0, {"content": [{"logprob": 1e-9}]}),
        (None, None),
        (None, {"content": None}),
        (None, {"content": []}),
        (None, {"content": "high"}),
        (None, {"content": [{"logprob": None}]}),
        (None, {"content": [{"logprob": True}]}),
        (None, {"content": [{"logprob": -0.25}, "x"]}),
        (None, {"content": [{"logprob": math.nan}]}),
        (None, ["x"]),
    ],
)
def test_odd_log_probabilities_are_left_out_and_the_answer_is_kept(expected: float | None, told: Any) -> None:
    body = {"choices": [{"message": {"content": "Paris."}, "logprobs": told, "finish_reason": "stop"}]}
    reply = OpenAIWire(provider="server", flavour="server").reply(body, None)
    assert reply.text == "Paris."
    assert reply.usage == Usage()
    assert reply.mean_logprob == expected
