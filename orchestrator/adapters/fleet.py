"""What can be called now: local models by their live workers, paid ones by their keys, open servers by asking."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import aiohttp

from orchestrator.adapters.pace import Paces
from orchestrator.core.types import Pace
from registry.load import Registry, open_server_card
from registry.schema import Card

log = logging.getLogger(__name__)

_READ_EVERY_S = 1.0
_LIST_EVERY_S = 10.0
_LIST_TIMEOUT_S = 3.0


class LocalModels(Protocol):
    def missing(self, card: Card) -> str | None: ...

    def wait_ms(self, card: Card) -> float: ...

    def models(self) -> Mapping[str, Mapping[str, Any]]: ...


class LiveFleet:
    """`keyed` maps a paid provider to None when its key is set, else to what to do; `servers` maps a name to
    the address of an OpenAI-compatible server of our own; `held_ms` tells of calls that wait in this process."""

    def __init__(
        self,
        registry: Registry,
        local: LocalModels,
        keyed: Mapping[str, str | None],
        servers: Mapping[str, str],
        held_ms: Callable[[str], float] = lambda model_id: 0.0,
    ) -> None:
        self._cards = registry
        self._registry = registry
        self._local = local
        self._keyed = keyed
        self._servers = servers
        self._held_ms = held_ms
        self._silent: dict[str, str] = {name: f"{name} has not been asked yet" for name in servers}
        self._listed: set[str] = set()
        self._paces = Paces()
        self._unavailable: Mapping[str, str] = {}
        self._measured: Mapping[str, Mapping[str, Any]] = {}
        self._contexts: Mapping[str, int] = {}
        self._read_at = float("-inf")
        self._lister: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._servers:
            await self._list_servers()
            self._lister = asyncio.create_task(self._list_forever(), name="open-servers")

    async def close(self) -> None:
        if self._lister is not None:
            self._lister.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._lister

    def registry(self) -> Registry:
        return self._registry

    def pace(self, model_id: str) -> Pace:
        card = self._registry.cards.get(model_id)
        if card is None or card.queue is None:
            return self._paces.of(model_id)
        return self._paces.of(model_id, self._local.wait_ms(card) + self._held_ms(model_id))

    def measured(self, model_id: str) -> Mapping[str, Any] | None:
        self.unavailable()  # what is announced is read once a second
        return self._measured.get(model_id)

    def contexts(self) -> Mapping[str, int]:
        self.unavailable()  # as above
        return self._contexts

    def observe(self, model_id: str, *, latency_ratio: float, output_ratio: float) -> None:
        self._paces.observe(model_id, latency_ratio=latency_ratio, output_ratio=output_ratio)

    def unavailable(self) -> Mapping[str, str]:
        now = time.monotonic()
        if now - self._read_at >= _READ_EVERY_S:
            reasons = {card.id: self._reason(card) for card in self._registry.cards.values()}
            self._unavailable = {model_id: reason for model_id, reason in reasons.items() if reason is not None}
            self._measured = self._local.models()
            told = {model_id: state.get("context_tokens") for model_id, state in self._measured.items()}
            self._contexts = {model_id: tokens for model_id, tokens in told.items() if tokens}
            self._read_at = now
        return self._unavailable

    def _reason(self, card: Card) -> str | None:
        if card.deprecated is not None and card.deprecated <= datetime.now(UTC).date():
            return f"its provider retired it on {card.deprecated}; name another model"
        if card.provider in self._servers:
            return self._silent.get(card.provider)
        if card.provider in self._keyed:
            return self._keyed[card.provider]
        if card.queue is None:
            return f"no adapter for provider {card.provider!r} is configured"
        return self._local.missing(card)

    async def _list_forever(self) -> None:
        while True:
            await asyncio.sleep(_LIST_EVERY_S)
            await self._list_servers()

    async def _list_servers(self) -> None:
        cards: list[Card] = []
        timeout = aiohttp.ClientTimeout(total=_LIST_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for name, address in self._servers.items():
                cards += await self._models_of(session, name, address)
        if {card.id for card in cards} != self._listed:
            self._listed = {card.id for card in cards}
            self._registry = self._cards.with_cards(cards)
        self._read_at = float("-inf")

    async def _models_of(self, session: aiohttp.ClientSession, name: str, address: str) -> list[Card]:
        try:
            async with session.get(f"{address}/models") as response:
                response.raise_for_status()
                listed = [str(entry["id"]) for entry in (await response.json())["data"]]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            told = str(error) or type(error).__name__
            self._silent[name] = f"{name} at {address} does not list its models ({told}); is it running?"
            log.warning("%s", self._silent[name])
            return [card for card in self._registry.cards.values() if card.provider == name]
        self._silent.pop(name, None)
        return list(_cards_of(name, listed))


def _cards_of(name: str, listed: Iterable[str]) -> Iterator[Card]:
    """Each model once; one with a name that no card can have is left out rather than all of them."""
    for model in dict.fromkeys(listed):
        try:
            yield open_server_card(name, model)
        except ValueError as error:
            log.warning("%s lists %r, which cannot be called here: %s", name, model, error)
