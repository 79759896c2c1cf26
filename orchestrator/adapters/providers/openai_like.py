"""OpenAI and every server that speaks its protocol, through the real openai SDK on aiohttp; it does not retry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import httpx2
import openai

from orchestrator.adapters.providers.openai_wire import Flavour, OpenAIWire
from orchestrator.adapters.providers.sdk import SdkProvider

BASE_URLS: Mapping[Flavour, str] = {
    "openai": "https://api.openai.com/v1",
    "deepseek": "https://api.deepseek.com",
}
NO_KEY = "none"
"""What is sent to a server that asks for no key: the SDK insists on one."""
NOT_IN_SDK = ("top_k",)
"""Options of the `server` flavour that the SDK has no argument for."""


class OpenAILikeProvider(SdkProvider):
    """One client, one pool of connections. `base_url` ends where `/chat/completions` begins; without one the
    flavour's own is meant, which `server` does not have."""

    sdk_error: ClassVar[type[Exception]] = openai.OpenAIError
    status_error: ClassVar[type[Exception]] = openai.APIStatusError

    def __init__(
        self,
        api_key: str | None,
        base_url: str | None = None,
        flavour: Flavour = "openai",
        provider: str | None = None,
    ) -> None:
        base_url = (base_url or BASE_URLS[flavour]).rstrip("/")
        self.wire = OpenAIWire(provider=provider or flavour, flavour=flavour)
        self.endpoint = f"{base_url}/chat/completions"
        self.headers = {"authorization": f"Bearer {api_key or NO_KEY}"}
        self._api_key = api_key
        self._is_server = flavour == "server"
        self._client = openai.AsyncOpenAI(
            api_key=api_key or NO_KEY,
            base_url=base_url,
            max_retries=0,
            http_client=openai.DefaultAioHttpClient(),
        )

    async def _ask(self, payload: dict[str, Any], limits: httpx2.Timeout) -> tuple[bytes, Mapping[str, str]]:
        create = self._client.chat.completions.with_raw_response.create
        raw = await create(**_for_sdk(payload), timeout=limits)
        return raw.content, raw.headers

    async def _open(self, payload: dict[str, Any], limits: httpx2.Timeout) -> Any:
        # llama-server says keep-alive and closes after a stream all the same: the next call on it would be lost.
        return await self._client.chat.completions.create(
            **_for_sdk(payload), timeout=limits, extra_headers={"Connection": "close"} if self._is_server else None
        )

    async def close(self) -> None:
        await self._client.close()


def _for_sdk(payload: dict[str, Any]) -> dict[str, Any]:
    extra = {name: payload[name] for name in NOT_IN_SDK if name in payload}
    if not extra:
        return payload
    return {**{name: value for name, value in payload.items() if name not in extra}, "extra_body": extra}
