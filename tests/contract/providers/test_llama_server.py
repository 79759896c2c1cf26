"""The openai_like provider against llama.cpp's own HTTP server on a tiny model: no server of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jsonschema
import pytest
import xllamacpp

from orchestrator.adapters.providers.openai_like import OpenAILikeProvider
from orchestrator.adapters.providers.plain import PlainProvider
from orchestrator.core.errors import CallRefused, CallUnauthorized
from orchestrator.core.types import Call, Delta, FinishReason, Message, Options
from orchestrator.ports import Provider
from registry.schema import Task
from tests.tiny.llm import save_llama_gguf

KEY = "sk-local"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A llama-server with two slots of 1024 tokens."""

    native: Any
    url: str

    def count(self, name: str) -> int:
        """One of the server's own counters."""
        lines = self.native.handle_metrics().splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith(f"llamacpp:{name} "))))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    save_llama_gguf(path)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel = 2048, 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.api_keys = [KEY]
    params.fit_params = params.ui = False
    params.endpoint_metrics = True
    params.verbosity = 0
    native = xllamacpp.Server(params)
    yield Server(native=native, url=f"{native.listening_address}/v1")
    del native


@pytest.fixture(params=("sdk", "plain"))
async def provider(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Provider]:
    sdk = OpenAILikeProvider(KEY, server.url, "server", "llama")
    found: Provider = PlainProvider(sdk) if request.param == "plain" else sdk
    yield found
    await found.close()


def call(text: str = "Say yes or no.", max_tokens: int = 20, **options: Any) -> Call:
    return Call(
        attempt_id=UUID("01980000-0000-7000-8000-000000000001"),
        model_id="llama/tiny",
        api_model="tiny",
        task=Task.GENERATE,
        messages=(Message(role="system", content="Be brief."), Message(role="user", content=text)),
        options=Options(**{"temperature": 0.0, **options}),
        max_tokens=max_tokens,
        timeout_s=20.0,
    )


async def streamed(provider: Provider, asked: Call) -> list[Delta]:
    async with provider.stream(asked) as deltas:
        return [delta async for delta in deltas]


async def test_a_reply_tells_text_tokens_why_it_ended_and_the_mean_log_probability(provider: Provider) -> None:
    reply = await provider.complete(call())
    assert reply.text
    assert reply.finish_reason is FinishReason.LENGTH
    assert reply.usage.output_tokens == 20
    assert reply.usage.input_tokens + reply.usage.cache_read_tokens == 42
    assert reply.mean_logprob is not None
    assert -20.0 <= reply.mean_logprob < 0.0


async def test_a_stream_says_the_same_and_ends_with_its_usage(provider: Provider) -> None:
    whole = await provider.complete(call(seed=1))
    deltas = await streamed(provider, call(seed=1))
    reply = deltas[-1].reply
    assert reply is not None
    assert len(deltas) > 5
    assert "".join(delta.text for delta in deltas) == reply.text == whole.text
    assert reply.finish_reason is FinishReason.LENGTH
    assert reply.usage.output_tokens == 20
    assert reply.mean_logprob is not None


@pytest.mark.parametrize("seed", range(3))
async def test_a_schema_constrains_what_the_server_writes(provider: Provider, seed: int) -> None:
    reply = await provider.complete(call(schema=PERSON, temperature=1.0, seed=seed, max_tokens=400))
    assert reply.finish_reason is FinishReason.STOP
    jsonschema.validate(json.loads(reply.text or ""), PERSON)


async def test_a_stream_is_constrained_too(provider: Provider) -> None:
    deltas = await streamed(provider, call(schema=PERSON, temperature=1.0, seed=1, max_tokens=400))
    jsonschema.validate(json.loads("".join(delta.text for delta in deltas)), PERSON)


async def test_a_schema_that_the_server_cannot_read_is_refused(provider: Provider) -> None:
    with pytest.raises(CallRefused) as caught:
        await provider.complete(call(schema={"type": "nonsense"}))
    assert "status 400" in str(caught.value)


async def test_top_k_and_seed_reach_the_server(provider: Provider) -> None:
    greedy = (await provider.complete(call())).text
    assert (await provider.complete(call(temperature=2.0, top_k=1, seed=5))).text == greedy
    one, same, other = [(await provider.complete(call(temperature=1.5, seed=seed))).text for seed in (1, 1, 2)]
    assert one == same != other


async def test_a_stop_string_ends_the_answer(provider: Provider) -> None:
    deltas = await streamed(provider, call(max_tokens=150))
    pieces = [delta.text for delta in deltas]
    readable = [bool(piece) and piece.isascii() for piece in pieces]
    border = next(at for at in range(8, len(pieces)) if readable[at - 1] and readable[at])
    stop, whole = pieces[border - 1] + pieces[border], "".join(pieces)
    reply = await provider.complete(call(max_tokens=150, stop=(stop,)))
    assert reply.text == whole[: whole.index(stop)]
    assert reply.finish_reason is FinishReason.STOP


async def test_a_prompt_beyond_the_context_is_refused_in_the_servers_words(provider: Provider) -> None:
    asked = call("7 " * 3000)
    with pytest.raises(CallRefused) as caught:
        await provider.complete(asked)
    assert "exceeds the available context size (1024 tokens)" in str(caught.value)
    with pytest.raises(CallRefused) as caught:
        await streamed(provider, asked)
    assert "exceeds the available context size (1024 tokens)" in str(caught.value)


async def test_a_wrong_key_is_told_as_such(server: Server) -> None:
    stranger = OpenAILikeProvider("sk-other", server.url, "server", "llama")
    with pytest.raises(CallUnauthorized):
        await stranger.complete(call())
    await stranger.close()


async def test_a_reader_who_leaves_ends_the_generation(provider: Provider, server: Server) -> None:
    before = server.count("tokens_predicted_total")
    async with provider.stream(call(max_tokens=950)) as deltas:
        async for delta in deltas:
            if delta.text:
                break
    for _ in range(200):
        if server.count("requests_processing") == 0:
            break
        await asyncio.sleep(0.02)
    assert server.count("requests_processing") == 0
    assert server.count("tokens_predicted_total") - before < 900


async def test_more_callers_than_slots_are_all_answered(provider: Provider) -> None:
    replies = await asyncio.gather(*(provider.complete(call(f"Number {each}", max_tokens=8)) for each in range(6)))
    assert [reply.usage.output_tokens for reply in replies] == [8] * 6


async def test_a_call_right_after_a_stream_is_answered(server: Server) -> None:
    """The server closes the connection after a stream, though it says keep-alive."""
    provider = OpenAILikeProvider(KEY, server.url, "server", "llama")
    for _ in range(10):
        await streamed(provider, call())
        assert (await provider.complete(call())).usage.output_tokens == 20
    await provider.close()
