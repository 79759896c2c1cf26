"""What can be called now: keys, live workers, and a real server that lists its models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from aiohttp import web

from orchestrator.adapters.fleet import LiveFleet
from orchestrator.core.types import Pace
from registry.load import Registry
from registry.schema import Card
from tests.flow.house import registry

KEYLESS = "set ANTHROPIC_API_KEY (environment) or anthropic_api_key (pennyroute.toml)"


class Workers:
    """Local models by their worker: one is there, the others are not."""

    def missing(self, card: Card) -> str | None:
        return None if card.id == "vader" else f"no {card.queue} worker is running"

    def wait_ms(self, card: Card) -> float:
        return 250.0

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        return {"minilm-l6-builtin": {"loads": 1}, "phi-2": {"context_tokens": 2040}}


def fleet(servers: dict[str, str] | None = None, cards: Registry | None = None) -> LiveFleet:
    keyed = {"anthropic": KEYLESS, "openai": None, "deepseek": None}
    return LiveFleet(cards or registry(), Workers(), keyed, servers or {})


@asynccontextmanager
async def listing(answer: Callable[[], Any]) -> AsyncIterator[str]:
    """A server on a free port whose /models answers this."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response(answer())

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


def test_a_model_is_available_by_its_key_or_its_worker() -> None:
    unavailable = fleet().unavailable()
    assert unavailable["claude-sonnet"] == KEYLESS
    assert unavailable["llama-3.2-1b-instruct"] == "no llm worker is running"
    assert not {"gpt-4o", "deepseek-chat", "vader"} & unavailable.keys()


def test_a_model_its_provider_retired_is_told_so() -> None:
    old = Card.model_validate({**registry().get("gpt-4o").model_dump(), "id": "gpt-old", "aliases": (), "roles": ()})
    retired = old.model_copy(update={"deprecated": date(2020, 1, 1)})
    unavailable = fleet(cards=registry().with_cards([retired])).unavailable()
    assert unavailable["gpt-old"] == "its provider retired it on 2020-01-01; name another model"


def test_a_call_of_a_local_model_waits_and_one_over_http_does_not() -> None:
    one = fleet()
    assert one.pace("vader") == Pace(wait_ms=250.0)
    assert one.pace("gpt-4o") == Pace(wait_ms=0.0)
    assert one.pace("a model that was never listed") == Pace(wait_ms=0.0)


def test_calls_that_were_observed_are_told_as_the_models_pace() -> None:
    one = fleet()
    for _ in range(200):
        one.observe("gpt-4o", latency_ratio=2.0, output_ratio=0.5)
        one.observe("vader", latency_ratio=3.0, output_ratio=1.0)
    paid, local = one.pace("gpt-4o"), one.pace("vader")
    assert (paid.wait_ms, round(paid.slowness, 2), round(paid.verbosity, 2)) == (0.0, 2.0, 0.5)
    assert (local.wait_ms, round(local.slowness, 2), round(local.verbosity, 2)) == (250.0, 3.0, 1.0)


async def test_a_servers_models_become_cards_named_by_the_server() -> None:
    async with listing(lambda: {"data": [{"id": "llama3:8b"}, {"id": "llama3:8b"}, {"id": "odd name"}]}) as address:
        one = fleet({"ollama": address})
        await one.start()
        assert [card.id for card in one.registry().cards.values() if card.provider == "ollama"] == ["ollama/llama3:8b"]
        assert "ollama/llama3:8b" not in one.unavailable()
        await one.close()


@pytest.mark.parametrize("answer", [[], {}, {"data": None}, {"data": ["x"]}, {"data": [{}]}, "models"])
async def test_a_server_that_lists_nonsense_stops_nobody(answer: Any) -> None:
    async with listing(lambda: answer) as address:
        one = fleet({"lab": address})
        await one.start()
        assert "gpt-4o" not in one.unavailable()
        assert [card for card in one.registry().cards.values() if card.provider == "lab"] == []
        await one.close()


async def test_a_server_that_falls_silent_keeps_its_models_and_says_why_they_are_away() -> None:
    async with listing(lambda: {"data": [{"id": "m"}]}) as address:
        one = fleet({"lab": address})
        await one.start()
    await one._list_servers()
    assert one.unavailable()["lab/m"].startswith(f"lab at {address} does not list its models")
    await one.close()


def test_calls_that_wait_in_this_process_lengthen_the_wait_of_their_model_alone() -> None:
    held = {"vader": 400.0}
    seen = LiveFleet(registry(), Workers(), {}, {}, lambda model_id: held.get(model_id, 0.0))
    assert seen.pace("vader").wait_ms == 650.0
    assert seen.pace("minilm-l6-builtin").wait_ms == 250.0
    assert seen.pace("gpt-4o").wait_ms == 0.0


def test_what_a_worker_measured_of_a_model_is_told() -> None:
    assert fleet().measured("minilm-l6-builtin") == {"loads": 1}
    assert fleet().measured("gemma-2-2b-it") is None


def test_how_much_a_loaded_model_holds_is_told() -> None:
    assert fleet().contexts() == {"phi-2": 2040}
