"""A twin in memory for each port: the same promises without a server, for flow tests and demonstrations."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any
from uuid import UUID

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.adapters.postgres.rows import inference_row
from orchestrator.core.budget import BudgetState, tightest
from orchestrator.core.errors import BudgetExceeded, LedgerUnavailable, NotFound
from orchestrator.core.reading.predict import Predictor, load
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Call, Caller, Delta, Ending, Hold, Inference, Pace, Reply
from orchestrator.ports import ApiKey, StoredText
from registry.load import Registry

_AS_STATED = Pace()


class MemoryClock:
    """Time that moves only when told to, and ids that count upwards within a UUIDv7."""

    def __init__(self, start: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)) -> None:
        self._now = start
        self._count = 0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def new_id(self) -> UUID:
        self._count += 1
        return UUID(int=(int(self._now.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | self._count)


@dataclass(slots=True)
class _Held:
    hold: Hold
    ending: Ending | None = None
    since: float = 0.0
    spent: int = 0


class MemoryLedger:
    """Global and tenant budgets by name; the same arithmetic as the SQL functions. `down`: it cannot be reached."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.down = False
        self._limits = dict(limits)
        self._held: dict[UUID, _Held] = {}
        self.rows: dict[UUID, Mapping[str, Any]] = {}

    async def reserve(self, hold: Hold) -> None:
        self._require_reachable()
        for name in self._names(hold):
            used = self._spent(name) + self._reserved(name)
            if used + hold.amount_nanousd > self._limits[name]:
                raise BudgetExceeded(
                    budget=name,
                    limit_nanousd=self._limits[name],
                    used_nanousd=used,
                    asked_nanousd=hold.amount_nanousd,
                    resets_at=_next_month(datetime.now(UTC)),
                )
        self._held[hold.attempt_id] = _Held(hold=hold, since=time.monotonic())

    async def finish(self, inference: Inference) -> None:
        self._require_reachable()
        attempt = inference.attempt
        held = self._held.get(attempt.id)
        if attempt.hold_nanousd > 0:
            if held is None or not _may_move(held.ending, attempt.ending):
                return
            held.ending = attempt.ending
            amounts = {Ending.SETTLED: attempt.cost_nanousd, Ending.RELEASED: 0}
            held.spent = amounts.get(attempt.ending, held.hold.amount_nanousd)
        row = inference_row(inference, paid=attempt.hold_nanousd > 0)
        known = self.rows.get(attempt.id)
        if known is None or known["ending"] == Ending.LAPSED:  # a lapse is corrected together with its attempt
            self.rows[attempt.id] = row

    async def sweep(self, older_than_s: float) -> int:
        before = time.monotonic() - older_than_s
        lost = [held for held in self._held.values() if held.ending is None and held.since <= before]
        for held in lost:
            held.ending, held.spent = Ending.LAPSED, held.hold.amount_nanousd
        return len(lost)

    async def budgets(self) -> Sequence[BudgetState]:
        return [self._state(name) for name in self._limits]

    async def tightest(self, caller: Caller, *, now: bool = False) -> BudgetState | None:
        return None if self.down else tightest(await self.budgets(), caller)

    async def set_budget(self, name: str, limit_nanousd: int) -> BudgetState:
        self._limits[name] = limit_nanousd
        return self._state(name)

    def _require_reachable(self) -> None:
        if self.down:
            raise LedgerUnavailable("the ledger cannot be reached, so no paid call is made. Try again.")

    def _names(self, hold: Hold) -> list[str]:
        return [name for name in self._limits if name in ("global", hold.caller.tenant)]

    def _of(self, name: str) -> list[_Held]:
        return [held for held in self._held.values() if name in self._names(held.hold)]

    def _reserved(self, name: str) -> int:
        return sum(held.hold.amount_nanousd for held in self._of(name) if held.ending is None)

    def _spent(self, name: str) -> int:
        return sum(held.spent for held in self._of(name))

    def _state(self, name: str) -> BudgetState:
        return BudgetState(
            name=name,
            scope="global" if name == "global" else f"tenant:{name}",
            window="month",
            limit_nanousd=self._limits[name],
            spent_nanousd=self._spent(name),
            reserved_nanousd=self._reserved(name),
            resets_at=_next_month(datetime.now(UTC)),
        )


def _may_move(old: Ending | None, new: Ending) -> bool:
    return old is None or (old is Ending.LAPSED and new is not Ending.LAPSED)


def _next_month(now: datetime) -> datetime:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


class MemoryInferences:
    """Reads the rows a MemoryLedger wrote."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    async def of_request(self, request_id: UUID) -> Sequence[Mapping[str, Any]]:
        rows = [row for row in self._ledger.rows.values() if row["request_id"] == str(request_id)]
        return rows or [row for row in self._ledger.rows.values() if row["id"] == str(request_id)]

    async def recent(
        self, limit: int, after: UUID | None = None, tenant: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        rows = [row for row in self._of(tenant) if after is None or UUID(row["id"]) > after]
        return sorted(rows, key=lambda row: str(row["id"]), reverse=True)[:limit]

    async def stats(self, since: datetime, tenant: str | None = None) -> Sequence[Mapping[str, Any]]:
        groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
        for row in self._of(tenant):
            if datetime.fromisoformat(row["created_at"]) >= since:
                groups.setdefault((row["task"], row["model_id"], row["tier"]), []).append(row)
        return [_stats(*key, rows) for key, rows in sorted(groups.items())]

    async def ensure_partitions(self) -> Sequence[str]:
        return []

    async def expire_texts(self, keep_days: int) -> int:
        before = datetime.now(UTC) - timedelta(days=keep_days)
        gone = [row for row in self._of(None) if _has_text(row) and datetime.fromisoformat(row["created_at"]) < before]
        for row in gone:
            self._ledger.rows[UUID(row["id"])] = {**row, "input": None, "output": None}
        return len(gone)

    def _of(self, tenant: str | None) -> list[Mapping[str, Any]]:
        return [row for row in self._ledger.rows.values() if tenant in (None, row["tenant"])]


def _stats(task: str, model_id: str, tier: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    graded = [row["quality_score"] for row in rows if row["quality_score"] is not None]
    return {
        "task": task,
        "model_id": model_id,
        "tier": tier,
        "attempts": len(rows),
        "accepted": sum(row["accepted"] for row in rows),
        "failed": sum(row["error_code"] is not None for row in rows),
        "cost_nanousd": sum(row["cost_nanousd"] for row in rows),
        "input_tokens": sum(row["input_tokens"] + row["cache_read_tokens"] + row["cache_write_tokens"] for row in rows),
        "output_tokens": sum(row["output_tokens"] for row in rows),
        "p50_latency_ms": _percentile([row["latency_ms"] for row in rows], 0.5),
        "p95_latency_ms": _percentile([row["latency_ms"] for row in rows], 0.95),
        "mean_quality": fmean(graded) if graded else None,
    }


def _percentile(values: Sequence[float], share: float) -> float:
    """Between the two nearest values, as SQL's percentile_cont."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = ordered[math.floor(place)]
    return low + (ordered[math.ceil(place)] - low) * (place - math.floor(place))


def _has_text(row: Mapping[str, Any]) -> bool:
    return row["input"] is not None or row["output"] is not None


class MemoryEmbeddings:
    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, UUID], tuple[StoredText, Sequence[float]]] = {}

    async def store(
        self, tenant: str, model_id: str, texts: Sequence[StoredText], vectors: Sequence[Sequence[float]]
    ) -> None:
        for text, vector in zip(texts, vectors, strict=True):
            self._kept[tenant, model_id, text.id] = text, vector

    async def search(self, tenant: str, model_id: str, vector: Sequence[float], limit: int) -> Sequence[StoredText]:
        found = [
            replace(text, similarity=_cosine(vector, other))
            for (owner, model, _), (text, other) in self._kept.items()
            if (owner, model, len(other)) == (tenant, model_id, len(vector))
        ]
        return sorted(found, key=lambda text: -(text.similarity or 0.0))[:limit]

    async def newest_model(self, tenant: str) -> str | None:
        mine = [(text_id.int, model) for owner, model, text_id in self._kept if owner == tenant]
        return max(mine)[1] if mine else None


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
    return dot / (math.hypot(*map(float, one)) * math.hypot(*map(float, other)))


class MemoryKeys:
    def __init__(self) -> None:
        self._keys: dict[bytes, ApiKey] = {}

    async def find(self, secret_sha256: bytes) -> ApiKey | None:
        return self._keys.get(secret_sha256)

    async def create(self, name: str, tenant: str, role: str, secret_sha256: bytes) -> ApiKey:
        key = ApiKey(id=UUID(int=len(self._keys) + 1), name=name, tenant=tenant, role=role, scopes={})
        return self._keys.setdefault(secret_sha256, key)


class MemoryPolicies:
    def __init__(self, policy: RoutingPolicy | None = None) -> None:
        self._policy = policy or RoutingPolicy()
        self._predictors: dict[str, Predictor] = {}

    async def current(self) -> RoutingPolicy:
        return self._policy

    async def activate(self, policy: RoutingPolicy, by: str) -> None:
        self._policy = policy

    async def change(self, rule: Callable[[RoutingPolicy], RoutingPolicy], by: str) -> RoutingPolicy:
        self._policy = rule(self._policy)
        return self._policy

    async def predictor(self, version: str | None) -> Predictor:
        shipped = shipped_predictor()
        if version in (None, shipped.version):
            return shipped
        if version not in self._predictors:
            raise NotFound(f"no routing artefact {version!r}; the policy that names it cannot score.")
        return self._predictors[str(version)]

    async def keep_predictor(self, artefact: bytes, facts: Mapping[str, Any], by: str) -> str:
        predictor = load(artefact)
        self._predictors[predictor.version] = predictor
        return predictor.version


class MemoryOverrides:
    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    async def all(self) -> Mapping[str, Any]:
        return dict(self._values)

    async def set(self, name: str, value: Any, by: str) -> None:
        self._values = {k: v for k, v in {**self._values, name: value}.items() if v is not None}


class MemoryBlobs:
    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, str]] = {}

    async def put(self, data: bytes, content_type: str) -> str:
        blob_id = f"blob-{len(self._kept) + 1}"
        self._kept[blob_id] = data, content_type
        return blob_id

    async def get(self, blob_id: str) -> tuple[bytes, str]:
        if blob_id not in self._kept:
            raise NotFound(f"no blob {blob_id!r}; upload it first with POST /blobs.")
        return self._kept[blob_id]


class MemoryFleet:
    """A fixed registry; `down` maps model ids to why they cannot be called, `known` to what workers measured."""

    def __init__(self, registry: Registry, down: Mapping[str, str] | None = None) -> None:
        self._registry = registry
        self.down = dict(down or {})
        self.paces: dict[str, Pace] = {}
        self.held: dict[str, int] = {}
        self.observed: list[tuple[str, float, float]] = []
        self.known: dict[str, Mapping[str, Any]] = {}

    def pace(self, model_id: str) -> Pace:
        return self.paces.get(model_id, _AS_STATED)

    def measured(self, model_id: str) -> Mapping[str, Any] | None:
        return self.known.get(model_id)

    def contexts(self) -> Mapping[str, int]:
        return self.held

    def observe(self, model_id: str, *, latency_ratio: float, output_ratio: float) -> None:
        self.observed.append((model_id, latency_ratio, output_ratio))

    def unavailable(self) -> Mapping[str, str]:
        return self.down

    def registry(self) -> Registry:
        return self._registry


@dataclass(frozen=True, slots=True)
class Cut:
    """A script's word for a stream that says `said` and then fails."""

    said: str
    failure: Exception


Scripted = Reply | Exception | Cut


class MemoryProvider:
    """Answers by a script: a function from the call to a reply, to the error it raises, or to a wait for either."""

    def __init__(self, answer: Callable[[Call], Scripted | Awaitable[Scripted]]) -> None:
        self._answer = answer
        self.calls: list[Call] = []
        self.open_streams = 0

    async def complete(self, call: Call) -> Reply:
        told = await self._told(call)
        if isinstance(told, Cut):
            raise told.failure
        return told

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[Delta]]:
        told = await self._told(call)
        self.open_streams += 1
        try:
            yield _deltas(told)
        finally:
            self.open_streams -= 1

    async def _told(self, call: Call) -> Reply | Cut:
        self.calls.append(call)
        answer = self._answer(call)
        told = answer if isinstance(answer, Reply | Exception | Cut) else await answer
        if isinstance(told, Exception):
            raise told
        return told

    async def close(self) -> None:
        return None


async def _deltas(told: Reply | Cut) -> AsyncIterator[Delta]:
    """One word a piece, the space before it kept, so that the pieces make the whole text."""
    text = told.said if isinstance(told, Cut) else told.text or ""
    for number, word in enumerate(text.split(" ")):
        yield Delta(text=f" {word}" if number else word)
    if isinstance(told, Cut):
        raise told.failure
    yield Delta(reply=told)


class MemoryHealth:
    async def checks(self) -> Mapping[str, Mapping[str, Any]]:
        return {"memory": {"ok": True, "required": True, "detail": "nothing outside this process is needed"}}
