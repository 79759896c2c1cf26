"""Every provider adapter against the wire server on a loopback port: six ways to say the same things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from orchestrator.adapters.providers.anthropic import AnthropicProvider
from orchestrator.adapters.providers.openai_like import OpenAILikeProvider
from orchestrator.adapters.providers.plain import PlainProvider
from orchestrator.adapters.providers.sdk import SdkProvider
from orchestrator.adapters.wire.app import WireApp
from orchestrator.adapters.wire.behaviour import Behaviour
from orchestrator.adapters.wire.server import Wire, serve
from orchestrator.core.types import Call, Message, Options
from orchestrator.ports import Provider
from registry.schema import Task

WAYS = ("anthropic-sdk", "anthropic-plain", "openai-sdk", "openai-plain", "deepseek-sdk", "deepseek-plain")
MODELS = {"anthropic": "claude-sonnet-5-5", "openai": "gpt-4o", "deepseek": "deepseek-chat"}
KEY = "sk-secret-key-of-the-test"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One adapter, the wire server behind it and the model it calls."""

    name: str
    provider: Provider
    wire: Wire
    model: str

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    def call(self, **changes: Any) -> Call:
        given: dict[str, Any] = {
            "attempt_id": UUID("01980000-0000-7000-8000-000000000001"),
            "model_id": f"{self.kind}/{self.model}",
            "api_model": self.model,
            "task": Task.GENERATE,
            "messages": (Message(role="user", content="What is the capital of France?"),),
            "options": Options(),
            "max_tokens": 64,
            "timeout_s": 10.0,
        }
        return Call(**{**given, **changes})

    def script(self, **behaviour: Any) -> None:
        self.wire.app.script.append(Behaviour(**behaviour))

    @property
    def counts(self) -> dict[str, int]:
        return self.wire.app.counts.as_dict()["total"]

    @property
    def sent(self) -> Any:
        """The body of the last request as the server read it."""
        return self.wire.app.recent[-1]["body"]

    async def wait_for(self, **counts: int) -> None:
        """Until the server has counted this much: it learns of a closed connection a moment later."""
        for _ in range(1000):
            if {name: self.counts[name] for name in counts} == counts:
                return
            await asyncio.sleep(0.005)
        pytest.fail(f"waited for {counts}, counted {self.counts}")


def sdk_provider(kind: str, base_url: str) -> SdkProvider:
    if kind == "anthropic":
        return AnthropicProvider(KEY, base_url)
    flavour: Any = kind
    return OpenAILikeProvider(KEY, f"{base_url}/v1", flavour)


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    kind, _, path = request.param.partition("-")
    async with serve(WireApp()) as wire:
        inner = sdk_provider(kind, wire.url)
        provider: Provider = PlainProvider(inner) if path == "plain" else inner
        yield Way(name=request.param, provider=provider, wire=wire, model=MODELS[kind])
        await provider.close()


@pytest.fixture(params=("anthropic", "openai", "deepseek"))
async def streaming(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    """Streams are always the SDK's: once per protocol."""
    async with serve(WireApp()) as wire:
        provider = sdk_provider(request.param, wire.url)
        yield Way(name=f"{request.param}-sdk", provider=provider, wire=wire, model=MODELS[request.param])
        await provider.close()
