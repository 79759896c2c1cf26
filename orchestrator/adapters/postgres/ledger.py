"""The ledger on Postgres: everything that waits in this process shares the next transaction (group commit).

One connection, one transaction at a time. While it commits, later calls gather; they go together in the
next. So a hundred concurrent attempts cost a few commits, each answer still waits for its own, and the
budget rows are locked once per commit instead of once per attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import AsyncConnection

from orchestrator.adapters.postgres.database import CONNECTION_ARGUMENTS, QUERIES, Database
from orchestrator.adapters.postgres.rows import ending_row, hold_row, inference_row
from orchestrator.core.budget import BudgetState
from orchestrator.core.errors import BudgetExceeded, LedgerUnavailable
from orchestrator.core.types import Hold, Inference

log = logging.getLogger(__name__)

# One transaction: large enough that commits are shared, small enough that nobody waits behind a wall of rows.
_MAX_BATCH = 256
# A database that does not answer in this time cannot vouch for money.
_COMMIT_TIMEOUT_S = 5.0
# How long an answer waits for its settle while the database is away; after that the books are caught up behind it.
_FINISH_PATIENCE_S = 20.0
_RETRY_DELAY_S = 0.2
# Endings owed to a database that is away; beyond this the oldest are left to the sweeper, which lapses them.
_MAX_OWED = 20_000


@dataclass(slots=True, eq=False)
class _Waiting:
    """One call that waits for the next transaction."""

    done: asyncio.Future[None]
    hold: Hold | None = None
    endings: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


class PostgresLedger:
    """`Ledger` on the SQL functions of `supabase/migrations/*_ledger.sql`."""

    def __init__(self, url: str, database: Database) -> None:
        self._url = url
        self._database = database
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._connection: AsyncConnection[Any] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._writer = asyncio.create_task(self._write_forever(), name="ledger-writer")

    async def close(self) -> None:
        """Commits what waits (bounded), then closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                while self._waiting:
                    await asyncio.sleep(0.01)
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await self._disconnect()

    async def reserve(self, hold: Hold) -> None:
        try:
            await self._enqueue(_Waiting(done=self._future(), hold=hold))
        except asyncio.CancelledError:
            self._owe_release(hold)  # the caller left before its call: provably unbilled
            raise

    async def finish(self, inference: Inference) -> None:
        paid = inference.attempt.hold_nanousd > 0
        waiting = _Waiting(done=self._future(), rows=[inference_row(inference, paid=paid)])
        if paid:
            waiting.endings.append(ending_row(inference.attempt))
        try:
            async with asyncio.timeout(_FINISH_PATIENCE_S):
                await asyncio.shield(self._enqueue(waiting))  # a caller who leaves does not take the row along
        except TimeoutError as error:
            raise LedgerUnavailable(
                f"the call was made but its cost could not be recorded within {_FINISH_PATIENCE_S:.0f} s; "
                "it stays reserved and is recorded when the database answers again.",
                attempt_id=str(inference.attempt.id),
            ) from error

    async def sweep(self, older_than_s: float) -> int:
        row = await self._database.row("sweep_ledger", older_than_s=older_than_s)
        return int(next(iter(row.values()))) if row else 0

    async def budgets(self) -> Sequence[BudgetState]:
        return [_budget(row) for row in await self._database.rows("list_budgets")]

    async def set_budget(self, name: str, limit_nanousd: int) -> BudgetState:
        await self._database.rows("set_budget", name=name, limit_nanousd=limit_nanousd)
        return next(budget for budget in await self.budgets() if budget.name == name)

    # -- the writer ---------------------------------------------------------------------------------

    @staticmethod
    def _future() -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def _enqueue(self, waiting: _Waiting) -> asyncio.Future[None]:
        if self._writer is None or self._writer.done():
            raise LedgerUnavailable("the ledger is closed, so no money can be reserved.")
        self._waiting.append(waiting)
        self._wake.set()
        return waiting.done

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            if not self._waiting:
                self._wake.clear()
            if batch:
                await self._write(batch)

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            refusals = await self._commit(batch)
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError) as error:
            await self._disconnect()
            self._put_back(batch, error)
            await asyncio.sleep(_RETRY_DELAY_S)
        except psycopg.Error as error:
            await self._isolate(batch, error)
        else:
            _resolve(batch, refusals)

    async def _commit(self, batch: Sequence[_Waiting]) -> Sequence[dict[str, Any]]:
        parameters = {
            "endings": _json([ending for waiting in batch for ending in waiting.endings]),
            "rows": _json([row for waiting in batch for row in waiting.rows]),
            "holds": _json([hold_row(n, waiting.hold) for n, waiting in enumerate(batch) if waiting.hold]),
        }
        async with asyncio.timeout(_COMMIT_TIMEOUT_S):
            if self._connection is None:
                self._connection = await AsyncConnection.connect(self._url, **CONNECTION_ARGUMENTS)
            cursor = await self._connection.execute(QUERIES["apply_ledger"], parameters)
            row = await cursor.fetchone()
        return next(iter(row.values())) if row else ()

    def _put_back(self, batch: list[_Waiting], error: BaseException) -> None:
        """The database is away: nothing is reserved, and what must be recorded waits for it."""
        log.warning("ledger cannot commit: %s", str(error).strip() or type(error).__name__)
        owed = [waiting for waiting in batch if waiting.hold is None]
        for waiting in batch:
            if waiting.hold is not None:
                _fail(waiting, LedgerUnavailable("the ledger cannot be reached, so no paid call is made. Try again."))
                self._owe_release(waiting.hold)  # its transaction may have committed unseen
        self._waiting = (owed + self._waiting)[-_MAX_OWED:]
        if self._waiting:
            self._wake.set()

    async def _isolate(self, batch: list[_Waiting], error: psycopg.Error) -> None:
        """One bad row must not fail its neighbours: each alone, and the bad one gets the error."""
        if len(batch) > 1:
            for waiting in batch:
                await self._write([waiting])
            return
        log.error("ledger refused an entry: %s", error)
        message = f"the ledger refused the entry: {error.diag.message_primary or error}"
        _fail(batch[0], LedgerUnavailable(message))

    def _owe_release(self, hold: Hold) -> None:
        ending = {"attempt_id": str(hold.attempt_id), "ending": "released", "cost_nanousd": 0}
        waiting = _Waiting(done=self._future(), endings=[ending])
        waiting.done.add_done_callback(_forget)
        self._waiting.append(waiting)
        self._wake.set()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, TimeoutError, OSError):
                async with asyncio.timeout(1.0):
                    await connection.close()


def _resolve(batch: Sequence[_Waiting], refusals: Sequence[dict[str, Any]]) -> None:
    refused = {UUID(refusal["attempt_id"]): refusal for refusal in refusals}
    for waiting in batch:
        refusal = refused.get(waiting.hold.attempt_id) if waiting.hold else None
        if refusal is not None:
            _fail(waiting, _exceeded(refusal))
        elif not waiting.done.done():
            waiting.done.set_result(None)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _forget(done: asyncio.Future[None]) -> None:
    """Nobody waits for a release that is owed; reading the outcome keeps asyncio from warning."""
    if not done.cancelled():
        done.exception()


def _exceeded(refusal: dict[str, Any]) -> BudgetExceeded:
    resets_at = refusal["resets_at"]
    return BudgetExceeded(
        budget=refusal["budget"],
        limit_nanousd=refusal["limit_nanousd"],
        used_nanousd=refusal["used_nanousd"],
        asked_nanousd=refusal["asked_nanousd"],
        resets_at=None if resets_at in (None, "infinity") else datetime.fromisoformat(resets_at),
    )


def _budget(row: Any) -> BudgetState:
    scope = row["scope"] if row["scope"] == "global" else f"{row['scope']}:{row['scope_value']}"
    return BudgetState(
        name=row["name"],
        scope=scope,
        window=row["period"],
        limit_nanousd=row["limit_nanousd"],
        spent_nanousd=row["spent_nanousd"],
        reserved_nanousd=row["reserved_nanousd"],
        resets_at=row["resets_at"],
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
