"""Vectors of prompts by an embedding model of our own, each text embedded once and kept for a while; stores nothing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.errors import CallFailed
from orchestrator.core.types import Call
from orchestrator.ports import Fleet, Provider
from registry.schema import Card, Task

Vector = NDArray[np.float32]
DIMENSIONS = 384
_MOST_KEPT = 4_096  # 384 float32 each: 6 MB
_MOST_CHARACTERS = 8_000  # the models read some 256 to 512 tokens
_TIMEOUT_S = 5.0


class PromptVectors:
    """Belongs to one event loop. Who asks for a text that is being embedded waits for the same answer."""

    def __init__(self, fleet: Fleet, providers: Mapping[str, Provider]) -> None:
        self._fleet = fleet
        self._providers = providers
        self._kept: OrderedDict[tuple[str, bytes], Vector] = OrderedDict()
        self._under_way: dict[tuple[str, bytes], asyncio.Task[Vector | None]] = {}

    def models(self) -> tuple[Card, ...]:
        """The embedding models of our own that can be called now, with vectors that can be stored: lowest tier
        first, as the registry has them, so that the choice does not change with what else is downloaded."""
        away = self._fleet.unavailable()
        cards = self._fleet.registry().for_task(Task.EMBED)
        return tuple(c for c in cards if c.queue and c.dimensions == DIMENSIONS and c.id not in away)

    async def of(self, card: Card, text: str) -> Vector | None:
        """None where the model failed. Cancelling the caller does not cancel the embedding."""
        key = (card.id, digest(text))
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        if key not in self._under_way:
            task = asyncio.create_task(self._embed(card, text, key), name="embed a prompt")
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(self._under_way[key])

    async def close(self) -> None:
        for task in tuple(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _embed(self, card: Card, text: str, key: tuple[str, bytes]) -> Vector | None:
        call = Call(
            attempt_id=uuid4(),
            model_id=card.id,
            api_model=card.api_model or card.id,
            task=Task.EMBED,
            texts=(text[:_MOST_CHARACTERS],),
            timeout_s=_TIMEOUT_S,
        )
        try:
            vector = _vector((await self._providers[card.provider].complete(call)).data)
        except CallFailed:
            return None
        if vector is not None:
            self._kept[key] = vector
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return vector


def digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _vector(data: Any) -> Vector | None:
    found = np.asarray(data, dtype=np.float32)
    return found[0].copy() if found.shape == (1, DIMENSIONS) else None
