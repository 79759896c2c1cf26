"""The ledger on Postgres: holds and endings as rows of the next group commit. The rules are in the SQL functions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.adapters.cached import Fresh
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.group_commit import Entry, GroupCommit, read_outcome
from orchestrator.adapters.postgres.rows import ending_row, hold_row, inference_row, to_json
from orchestrator.core.budget import BudgetState, tightest
from orchestrator.core.errors import BudgetExceeded, LedgerUnavailable, StoreUnavailable
from orchestrator.core.types import Caller, Hold, Inference

# How long an answer waits for its settle while the database is away; after that the books are caught up behind it.
_FINISH_PATIENCE_S = 20.0


class PostgresLedger:
    """`Ledger` on the SQL functions of `supabase/migrations/*_ledger.sql`."""

    def __init__(self, url: str, database: Database) -> None:
        self._database = database
        self._commits = GroupCommit(url)
        self._lately = Fresh(self.budgets)

    async def open(self) -> None:
        await self._commits.open()

    async def close(self) -> None:
        """Commits what waits (bounded), then closes."""
        await self._commits.close()

    async def reserve(self, hold: Hold) -> None:
        """Raises LedgerUnavailable within about five seconds when the database does not answer."""
        entry = Entry(done=_future(), hold=to_json(hold_row(hold)), attempt_id=str(hold.attempt_id))
        try:
            refusal = await self._commits.put(entry)
        except asyncio.CancelledError:
            if entry.sent:
                self._commits.release(entry)  # the caller left before its call: provably unbilled
            raise
        if refusal is not None:
            raise _exceeded(refusal)

    async def finish(self, inference: Inference) -> None:
        paid = inference.attempt.hold_nanousd > 0
        row = to_json(inference_row(inference, paid=paid))
        ending = to_json(ending_row(inference.attempt)) if paid else None
        entry = Entry(done=_future(), ending=ending, row=row)
        entry.done.add_done_callback(read_outcome)
        try:
            async with asyncio.timeout(_FINISH_PATIENCE_S):
                await asyncio.shield(self._commits.put(entry))  # a caller who leaves does not take the row along
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

    async def tightest(self, caller: Caller, *, now: bool = False) -> BudgetState | None:
        if now:
            self._lately = Fresh(self.budgets)
        try:
            return tightest(await self._lately.get(), caller)
        except StoreUnavailable:
            return None  # our own machines answer without money; a paid call is refused at its hold

    async def set_budget(self, name: str, limit_nanousd: int) -> BudgetState:
        self._lately = Fresh(self.budgets)
        await self._database.rows("set_budget", name=name, limit_nanousd=limit_nanousd)
        return next(budget for budget in await self.budgets() if budget.name == name)


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _exceeded(refusal: Mapping[str, Any]) -> BudgetExceeded:
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
