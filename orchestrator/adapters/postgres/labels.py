"""Judged requests and the watches of contracts on Postgres. Translates rows; the game itself is the caller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.rows import clean, clean_value
from orchestrator.core.contract.watch import Watch
from orchestrator.ports import Label

_TEXTS = ("tenant", "task_class", "text", "served", "source")


class PostgresLabels:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, label: Label) -> bool:
        row = {field.name: getattr(label, field.name) for field in fields(Label)}
        row |= {name: clean(row[name]) for name in _TEXTS}
        row |= {name: Jsonb(clean_value(row[name])) for name in ("outcomes", "answers")}
        added = await self._database.rows("add_label", **row)
        return bool(added)

    async def of_class(self, tenant: str | None, task_class: str) -> Sequence[Label]:
        rows = await self._database.rows("labels_of_class", tenant=tenant, task_class=task_class)
        return [Label(**row) for row in rows]

    async def with_text(self, limit: int) -> Sequence[Label]:
        rows = await self._database.rows("labels_with_text", limit=limit)
        return [Label(**row) for row in reversed(rows)]

    async def watch(
        self, contract_version: str, observe: Callable[[Watch | None], Watch], once: UUID | None = None
    ) -> Watch:
        async with self._database.together() as run:
            await run("one_watch_at_a_time", contract_version=contract_version)
            before = _watch(await run("watch_of_contract", contract_version=contract_version))
            if once is not None:
                new = await run("watch_request_once", contract_version=contract_version, request_id=once)
                if not new and before is not None:
                    return before
            after = observe(before)
            if after != before:
                await run("keep_watch", contract_version=contract_version, state=Jsonb(_state(after)))
            return after

    async def watched(self, contract_version: str) -> Watch | None:
        return _watch(await self._database.rows("watch_of_contract", contract_version=contract_version))


def _watch(rows: Sequence[Mapping[str, Any]]) -> Watch | None:
    return Watch(**rows[0]["state"]) if rows else None


def _state(watch: Watch) -> dict[str, Any]:
    """JSON numbers hold a double exactly, so a watch comes back as it went."""
    return {field.name: getattr(watch, field.name) for field in fields(Watch)}
