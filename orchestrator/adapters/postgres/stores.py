"""The log read back, embeddings, API keys, policies and settings on Postgres. Translates rows, decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.rows import clean, clean_value
from orchestrator.core.errors import NotFound
from orchestrator.core.reading.predict import Predictor, load
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.ports import ApiKey, StoredText

# A row is written at the end of its attempt, so it lies a little after the moment in its UUIDv7.
_ID_SLACK = timedelta(days=1)
_NO_ID = UUID(int=0)
# 48 bits of milliseconds reach past the last year a datetime holds; an id is any caller's to write.
_TOO_LATE_MS = 10**14


class PostgresInferences:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_request(self, request_id: UUID) -> Sequence[Mapping[str, Any]]:
        """By request id, else by the id of one attempt. The moment in the id prunes the partitions."""
        at = _moment(request_id)
        window = {"from": at - _ID_SLACK, "to": at + _ID_SLACK}
        rows = await self._database.rows("inferences_of_request", request_id=request_id, **window)
        return rows or await self._database.rows("inference_by_id", id=request_id, **window)

    async def recent(
        self, limit: int, after: UUID | None = None, tenant: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        since = _moment(after) - _ID_SLACK if after else datetime.now(UTC) - timedelta(days=31)
        wanted = {"limit": limit, "after": after or _NO_ID, "since": since, "tenant": tenant}
        return await self._database.rows("recent_inferences", **wanted)

    async def stats(self, since: datetime, tenant: str | None = None) -> Sequence[Mapping[str, Any]]:
        return await self._database.rows("inference_stats", since=since, tenant=tenant)

    async def ensure_partitions(self) -> Sequence[str]:
        return [str(next(iter(row.values()))) for row in await self._database.rows("ensure_partitions")]

    async def expire_texts(self, keep_days: int) -> int:
        row = await self._database.row("expire_texts", keep_days=keep_days)
        return int(next(iter(row.values()))) if row else 0


class PostgresEmbeddings:
    """Vectors of any size, cosine similarity, per tenant, model and size."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(
        self, tenant: str, model_id: str, texts: Sequence[StoredText], vectors: Sequence[Sequence[float]]
    ) -> None:
        await self._database.rows(
            "store_embeddings",
            tenant=tenant,
            model_id=model_id,
            ids=[text.id for text in texts],
            texts=[clean(text.text) for text in texts],
            metadata=[Jsonb(clean_value(text.metadata)) for text in texts],
            vectors=[vector_text(vector) for vector in vectors],
        )

    async def search(self, tenant: str, model_id: str, vector: Sequence[float], limit: int) -> Sequence[StoredText]:
        parameters = {"tenant": tenant, "model_id": model_id, "vector": vector_text(vector), "limit": limit}
        rows = await self._database.search_rows("search_embeddings", **parameters)
        return [StoredText(model_id=model_id, **row) for row in rows]

    async def newest_model(self, tenant: str) -> str | None:
        row = await self._database.row("newest_embedding_model", tenant=tenant)
        return row["model_id"] if row else None


class PostgresKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, secret_sha256: bytes) -> ApiKey | None:
        row = await self._database.row("find_key", sha256=secret_sha256)
        return ApiKey(**row) if row else None

    async def create(self, name: str, tenant: str, role: str, secret_sha256: bytes) -> ApiKey:
        row = await self._database.row("create_key", name=name, tenant=tenant, role=role, sha256=secret_sha256)
        assert row is not None  # noqa: S101 - insert … returning always returns
        return ApiKey(**row)


class PostgresPolicies:
    """The active policy, read at most every `ttl_s` seconds by its caller; the default when none is active."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def current(self) -> RoutingPolicy:
        return _policy(await self._database.rows("active_policy"))

    async def of_version(self, version: str) -> RoutingPolicy:
        """Any version that was ever kept, active or not. Raises NotFound."""
        rows = await self._database.rows("policy_of_version", version=version)
        if not rows:
            raise NotFound(f"no routing policy {version!r} is kept in this database.")
        return _policy(rows)

    async def activate(self, policy: RoutingPolicy, by: str) -> None:
        await self._database.rows("activate_policy", **_activation(policy, by))

    async def change(self, rule: Callable[[RoutingPolicy], RoutingPolicy], by: str) -> RoutingPolicy:
        async with self._database.together() as run:
            await run("one_policy_change_at_a_time")
            before = _policy(await run("active_policy"))
            after = rule(before)
            if after.version != before.version:
                await run("activate_policy", **_activation(after, by))
            return after

    async def predictor(self, version: str | None) -> Predictor:
        shipped = shipped_predictor()
        if version in (None, shipped.version):
            return shipped
        row = await self._database.row("routing_artefact", version=version)
        if row is None:
            raise NotFound(f"no routing artefact {version!r}; the policy that names it cannot score.")
        return load(bytes(row["artefact"]))

    async def keep_predictor(self, artefact: bytes, facts: Mapping[str, Any], by: str) -> str:
        version = load(artefact).version
        parameters = {"version": version, "artefact": artefact, "facts": Jsonb(dict(facts)), "by": by}
        await self._database.rows("keep_routing_artefact", **parameters)
        return version


class PostgresOverrides:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Mapping[str, Any]:
        return {row["name"]: row["value"] for row in await self._database.rows("list_settings")}

    async def set(self, name: str, value: Any, by: str) -> None:
        if value is None:
            await self._database.rows("unset_setting", name=name)
        else:
            await self._database.rows("set_setting", name=name, value=Jsonb(value), by=by)


def _policy(rows: Sequence[Mapping[str, Any]]) -> RoutingPolicy:
    """The default one where none is active."""
    return RoutingPolicy.from_dict(rows[0]["policy"], rows[0]["name"]) if rows else RoutingPolicy()


def _activation(policy: RoutingPolicy, by: str) -> dict[str, Any]:
    return {"version": policy.version, "name": policy.name, "policy": Jsonb(policy.as_dict()), "by": by}


def vector_text(values: Sequence[float] | NDArray[np.float32]) -> str:
    """pgvector's text form; numpy arrays are written at float32 precision."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _moment(uuid7: UUID) -> datetime:
    """The millisecond in a UUIDv7; any other id, and one of the year 5138 or later, reads as now."""
    milliseconds = uuid7.int >> 80
    if uuid7.version != 7 or milliseconds >= _TOO_LATE_MS:
        return datetime.now(UTC)
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
