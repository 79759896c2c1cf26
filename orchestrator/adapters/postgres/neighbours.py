"""Past prompts with known outcomes on Postgres, found by meaning. A hint for the score: it never holds a request up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.rows import clean_value
from orchestrator.adapters.postgres.stores import vector_text
from orchestrator.adapters.prompt_vectors import PromptVectors, Vector, digest
from orchestrator.core.errors import StoreUnavailable
from orchestrator.core.types import Neighbour
from orchestrator.ports import Label
from registry.schema import Card

log = logging.getLogger(__name__)

WAIT_S = 0.06  # a request waits no longer; the search goes on, and its vector is there for the next ask
_COUNTED_FOR_S = 5.0
_MOST_TENANTS = 10_000
_MOST_WAITING = 64  # searches at once in a process: under overload the score does without


@dataclass(frozen=True, slots=True)
class _Counted:
    """The embedding model that most of a tenant's neighbours were embedded by first; and when that was looked up."""

    models: tuple[str, ...]
    at: float


class PostgresNeighbours:
    def __init__(self, database: Database, vectors: PromptVectors) -> None:
        self._database = database
        self._vectors = vectors
        self._counted: dict[str, _Counted] = {}
        self._counting: set[str] = set()
        self._searches: set[asyncio.Task[Sequence[Neighbour]]] = set()
        self._counts: set[asyncio.Task[None]] = set()

    async def like(self, tenant: str, text: str, limit: int) -> Sequence[Neighbour]:
        if not text or self._stored(tenant) == () or len(self._searches) >= _MOST_WAITING:
            return ()
        search = asyncio.create_task(self._like(tenant, text, limit), name="find neighbours")
        self._searches.add(search)
        search.add_done_callback(self._searches.discard)
        # Not cancelled when time is up: a query that is cut costs its connection.
        done, _ = await asyncio.wait((search,), timeout=WAIT_S)
        return search.result() if done else ()

    async def learn(self, tenant: str, label: Label) -> None:
        """Raises StoreUnavailable."""
        card = await self._card(tenant)
        vector = await self._vectors.of(card, label.text) if card and label.text else None
        if card is None or vector is None:
            return
        await self._database.rows(
            "learn_neighbour",
            tenant=tenant,
            model_id=card.id,
            sha256=digest(label.text or ""),
            vector=vector_text(vector),
            outcomes=Jsonb(clean_value(label.outcomes)),
        )
        self._counted.pop(tenant, None)

    async def close(self) -> None:
        await asyncio.gather(*self._searches, *self._counts, return_exceptions=True)
        await self._vectors.close()

    async def _like(self, tenant: str, text: str, limit: int) -> Sequence[Neighbour]:
        try:
            card = await self._card(tenant, stored_only=True)
            vector = await self._vectors.of(card, text) if card else None
            return await self._nearest(tenant, card, vector, limit) if card and vector is not None else ()
        except StoreUnavailable as error:
            log.warning("neighbours are not asked: %s", error)
        except Exception:  # a hint must never be the reason why a request fails
            log.exception("neighbours are not asked")
        return ()

    async def _nearest(self, tenant: str, card: Card, vector: Vector, limit: int) -> Sequence[Neighbour]:
        wanted = {"tenant": tenant, "model_id": card.id, "vector": vector_text(vector), "limit": limit}
        rows = await self._database.search_rows("nearest_neighbours", **wanted)
        return [Neighbour(similarity=float(row["similarity"]), outcomes=row["outcomes"]) for row in rows]

    async def _card(self, tenant: str, *, stored_only: bool = False) -> Card | None:
        """The model most of the tenant's neighbours were embedded by, of those that can be called; to begin with,
        the first that can."""
        counted = self._counted.get(tenant) or await self._count(tenant)
        ready = {card.id: card for card in self._vectors.models()}
        known = next((ready[model] for model in counted.models if model in ready), None)
        return known or (None if stored_only else next(iter(ready.values()), None))

    def _stored(self, tenant: str) -> tuple[str, ...] | None:
        """The models of the tenant's neighbours as last counted, None where they never were. A count that grew old
        is taken again meanwhile: nobody waits for it."""
        counted = self._counted.get(tenant)
        if counted is not None and time.monotonic() - counted.at >= _COUNTED_FOR_S and tenant not in self._counting:
            task = asyncio.create_task(self._recount(tenant), name="count neighbours")
            self._counts.add(task)
            task.add_done_callback(self._counts.discard)
        return counted.models if counted else None

    async def _recount(self, tenant: str) -> None:
        try:
            await self._count(tenant)
        except StoreUnavailable as error:
            log.warning("neighbours are not counted: %s", error)

    async def _count(self, tenant: str) -> _Counted:
        self._counting.add(tenant)
        try:
            rows = await self._database.rows("count_neighbours", tenant=tenant)
        finally:
            self._counting.discard(tenant)
        if len(self._counted) >= _MOST_TENANTS:
            self._counted.clear()
        counted = _Counted(tuple(row["model_id"] for row in rows), time.monotonic())
        self._counted[tenant] = counted
        return counted
