"""One contract for the small doors: clock, blobs, fleet, provider and health, twin and real thing alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.blobs import FolderBlobs
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.fleet import LiveFleet
from orchestrator.adapters.health import LiveHealth
from orchestrator.adapters.memory import (
    Cut,
    MemoryBlobs,
    MemoryClock,
    MemoryFleet,
    MemoryHealth,
    MemoryProvider,
)
from orchestrator.adapters.providers.openai_like import OpenAILikeProvider
from orchestrator.adapters.redis.fleet import FleetReader
from orchestrator.adapters.wire.app import WireApp
from orchestrator.adapters.wire.behaviour import Behaviour
from orchestrator.adapters.wire.server import Wire, serve
from orchestrator.core.errors import CallBroken, CallFailed, CallRateLimited, InvalidInput, NotFound
from orchestrator.core.types import Call, Message, Pace, Reply
from orchestrator.ports import Blobs, Clock, Fleet, Health, Provider
from registry.load import load
from registry.schema import Task, Usage
from tests.samples import new_id

TEXT = "one two three"


@pytest.mark.parametrize("clock", [MemoryClock(), SystemClock()], ids=["memory", "system"])
def test_a_clock_is_in_utc_and_its_ids_are_uuid7_of_now(clock: Clock) -> None:
    now, first, second = clock.now(), clock.new_id(), clock.new_id()
    assert now.tzinfo is UTC
    assert (first.version, second.version) == (7, 7)
    assert first != second
    assert abs((first.int >> 80) / 1000 - now.timestamp()) < timedelta(seconds=5).total_seconds()


@pytest.fixture(params=["memory", "folder"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return MemoryBlobs() if request.param == "memory" else FolderBlobs(tmp_path / "blobs")


async def test_a_blob_comes_back_as_it_was_with_its_type(blobs: Blobs) -> None:
    one, other = await blobs.put(b"\x89PNG", "image/png"), await blobs.put(b"", "audio/wav")
    assert await blobs.get(one) == (b"\x89PNG", "image/png")
    assert await blobs.get(other) == (b"", "audio/wav")


@pytest.mark.parametrize("wrong", ["0" * 32, "../secrets/admin-key", ""])
async def test_a_blob_nobody_put_is_refused_in_words(blobs: Blobs, wrong: str) -> None:
    with pytest.raises((NotFound, InvalidInput), match="blob"):
        await blobs.get(wrong)


@pytest.fixture(params=["memory", "live"])
async def fleet(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Fleet]:
    """vader away (no worker runs), claude-sonnet here."""
    cards = load()
    if request.param == "memory":
        yield MemoryFleet(cards, {"vader": "sentiment has no worker on this installation yet"})
        return
    reader = FleetReader(redis_url)
    await reader.start()
    yield LiveFleet(cards, reader, {"anthropic": None, "openai": None, "deepseek": None}, {})
    await reader.close()


async def test_a_fleet_says_in_a_sentence_why_a_model_is_away_and_keeps_silent_about_the_rest(fleet: Fleet) -> None:
    unavailable = fleet.unavailable()
    assert unavailable["vader"] == "sentiment has no worker on this installation yet"
    assert "claude-sonnet" not in unavailable
    assert fleet.registry().get("vader").id == "vader"


async def test_a_model_that_was_not_called_yet_answers_as_it_is_stated(fleet: Fleet) -> None:
    assert fleet.pace("claude-sonnet") == Pace(wait_ms=0.0, slowness=1.0, verbosity=1.0)
    fleet.observe("gpt-4o", latency_ratio=3.0, output_ratio=2.0)
    assert fleet.pace("claude-sonnet") == Pace(wait_ms=0.0, slowness=1.0, verbosity=1.0)


def call() -> Call:
    message = Message(role="user", content="Count.")
    return Call(
        attempt_id=new_id(), model_id="m", api_model="m", task=Task.GENERATE, messages=(message,), max_tokens=50
    )


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serve(WireApp()) as server:
        yield server


@pytest.fixture(params=["memory", "openai"])
async def provider(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Provider]:
    """Answers, then is rate limited, then cuts its stream after two pieces."""
    wire.app.script.append(Behaviour(do="answer", text=TEXT))
    wire.app.script.append(Behaviour(do="error", status=429, retry_after="3"))
    wire.app.script.append(Behaviour(do="cut", text=TEXT, after_events=3))
    reply = Reply(usage=Usage(input_tokens=1, output_tokens=3), text=TEXT)
    cut = Cut(said="one two ", failure=CallBroken("the stream was cut"))
    scripted = iter([reply, CallRateLimited("later", retry_after_s=3.0), cut])
    chosen: Provider = MemoryProvider(lambda _: next(scripted))
    if request.param == "openai":
        chosen = OpenAILikeProvider("k", f"{wire.url}/v1", "openai")
    yield chosen
    await chosen.close()


async def test_a_provider_answers_whole_tells_when_to_come_back_and_says_a_cut_stream_is_broken(
    provider: Provider,
) -> None:
    reply = await provider.complete(call())
    assert reply.text == TEXT
    assert reply.usage.output_tokens > 0
    with pytest.raises(CallRateLimited) as limited:
        await provider.complete(call())
    assert (limited.value.retry_after_s, limited.value.unbilled) == (3.0, True)
    said: list[str] = []
    with pytest.raises(CallFailed) as broken:  # noqa: PT012 - the failure comes out of the iteration
        async with provider.stream(call()) as deltas:
            async for delta in deltas:
                said.append(delta.text)
    assert not broken.value.unbilled
    assert "".join(said)
    assert TEXT.startswith("".join(said).strip())


@pytest.mark.parametrize("kind", ["memory", "live"])
async def test_health_says_of_each_check_whether_it_is_well_needed_and_why(
    kind: str, redis_url: str, tmp_path: Path
) -> None:
    reader = FleetReader(redis_url)
    await reader.start()

    async def answers() -> object:
        return {}

    health: Health = MemoryHealth() if kind == "memory" else LiveHealth(answers, reader, tmp_path)
    checks = await health.checks()
    await reader.close()
    assert checks
    assert all({"ok", "required", "detail"} <= check.keys() for check in checks.values())
    assert all(check["ok"] for check in checks.values() if check["required"])
