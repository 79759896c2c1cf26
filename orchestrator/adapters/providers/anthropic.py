"""Claude through the real anthropic SDK on its aiohttp transport; it does not retry, choose or default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import anthropic
import httpx2

from orchestrator.adapters.providers.anthropic_wire import API_VERSION, AnthropicWire
from orchestrator.adapters.providers.sdk import SdkProvider

BASE_URL = "https://api.anthropic.com"


class AnthropicProvider(SdkProvider):
    """One client, one pool of connections. `base_url` is without `/v1`."""

    sdk_error: ClassVar[type[Exception]] = anthropic.AnthropicError
    status_error: ClassVar[type[Exception]] = anthropic.APIStatusError

    def __init__(self, api_key: str, base_url: str | None = None, provider: str = "anthropic") -> None:
        base_url = (base_url or BASE_URL).rstrip("/")
        self.wire = AnthropicWire(provider=provider)
        self.endpoint = f"{base_url}/v1/messages"
        self.headers = {"authorization": f"Bearer {api_key}", "anthropic-version": API_VERSION}
        self._api_key = api_key
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            default_headers={"anthropic-version": API_VERSION},
            http_client=anthropic.DefaultAioHttpClient(),
        )

    async def _ask(self, payload: dict[str, Any], limits: httpx2.Timeout) -> tuple[bytes, Mapping[str, str]]:
        raw = await self._client.messages.with_raw_response.create(**payload, timeout=limits)
        return await raw.read(), raw.headers

    async def _open(self, payload: dict[str, Any], limits: httpx2.Timeout) -> Any:
        return await self._client.messages.create(**payload, timeout=limits)

    async def close(self) -> None:
        await self._client.close()
