"""Group commit: everything that waits in this process shares the next transaction. Knows money's order, no rule of it.

One connection, one transaction at a time. While it commits, later entries gather; they go together in the
next. So a hundred concurrent attempts cost a few commits, each answer still waits for its own, and the
budget rows are locked once per commit instead of once per attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection

from orchestrator.adapters.postgres.database import CONNECTION_ARGUMENTS, QUERIES, cut, time_limit
from orchestrator.core.errors import LedgerUnavailable

log = logging.getLogger(__name__)

# One transaction: large enough that commits are shared, small enough that nobody waits behind a wall of rows.
# A jsonb value ends at 256 MB and its text must fit a message; ten megabytes of texts cost a tenth of a second.
_MAX_BATCH, _MAX_BATCH_BYTES = 256, 10_000_000
# A database that does not answer in this time cannot vouch for money.
COMMIT_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S, _CHECK_TIMEOUT_S = 3.0, 2.0
_RETRY_DELAY_S = 0.2
# Under load the next transaction waits this long for company: a commit costs the database about as much for ten
# entries as for one, and its processor is what many callers wait for. A caller alone never waits.
_GATHER_S = 0.002
# A connection that idled may have been closed by a pooler or a restart: ask before money depends on it.
_CHECK_IDLE_AFTER_S = 5.0
# Rows owed to a database that is away. Above it rows that carry no money are dropped; endings never are: while
# the database is away nothing new is reserved, so there are only as many as calls were in work.
_MAX_OWED_BYTES = 64_000_000
# SQLSTATE classes that blame what was sent: data, integrity, a limit, our own `raise`, an internal error.
_REFUSED = frozenset({"22", "23", "54", "P0", "XX"})
# Deadlock and serialisation: the transaction was rolled back through no fault of its own.
_ROLLED_BACK = "40"
_AWAY = "the ledger cannot be reached, so no paid call is made. Try again."


@dataclass(slots=True, eq=False)
class Entry:
    """One call that waits for the next transaction; its parts are JSON objects."""

    done: asyncio.Future[Any]
    hold: bytes | None = None
    attempt_id: str | None = None
    ending: bytes | None = None
    row: bytes | None = None
    sent: bool = False
    """Its transaction may have committed, or may still."""

    @property
    def size_bytes(self) -> int:
        return len(self.hold or b"") + len(self.ending or b"") + len(self.row or b"")

    @property
    def withdrawn(self) -> bool:
        return self.hold is not None and self.done.cancelled()


class GroupCommit:
    """`put` an entry and await its `done`: it resolves once the transaction is durable, with the refusal of a hold
    or None. Raises LedgerUnavailable through it. Endings go before holds, so that what they free can be reserved.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: deque[Entry] = deque()
        self._alone: deque[Entry] = deque()  # of a batch that was refused: each goes by itself
        self._writing: Sequence[Entry] = ()
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._connection: AsyncConnection[Any] | None = None
        self._used_at_s = 0.0
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._writer = asyncio.create_task(self._write_forever(), name="ledger-writer")

    async def close(self) -> None:
        """Commits what waits, for a bounded time; who still waits then gets LedgerUnavailable."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._idle.wait()
        if self._writer is not None:
            if self._connection is not None and self._writing:
                cut(self._connection)
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await self._disconnect()
        for entry in (*self._writing, *self._alone, *self._waiting):
            _fail(
                entry, LedgerUnavailable("this process stopped before the ledger answered; what was reserved lapses.")
            )

    def put(self, entry: Entry) -> asyncio.Future[Any]:
        if self._writer is None or self._writer.done():
            raise LedgerUnavailable("the ledger is closed, so no money can be reserved.")
        self._waiting.append(entry)
        self._idle.clear()
        self._wake.set()
        return entry.done

    def release(self, entry: Entry) -> None:
        """Give back what a sent hold may have reserved; nobody waits for it."""
        assert entry.hold is not None  # noqa: S101 - the caller's condition, for the type checker
        ending = entry.hold[:-1] + b',"ending":"released","cost_nanousd":0,"in_doubt":true}'
        owed = Entry(done=asyncio.get_running_loop().create_future(), ending=ending)
        owed.done.add_done_callback(read_outcome)
        self._waiting.append(owed)
        self._idle.clear()
        self._wake.set()

    # -- the writer ---------------------------------------------------------------------------------

    async def _write_forever(self) -> None:
        crowded = False
        while True:
            await self._wake.wait()
            if crowded or len(self._waiting) > 1:
                await asyncio.sleep(_GATHER_S)
            self._writing = self._take()
            crowded = len(self._writing) > 1
            if not self._writing:
                self._wake.clear()
                self._idle.set()
                continue
            try:
                await self._write(self._writing)
            except Exception as error:  # a bug here must not leave a hundred callers waiting for ever
                log.exception("the ledger's writer failed")
                self._fail_all(self._writing, LedgerUnavailable(f"the ledger failed: {error!r}"))
            self._writing = ()

    def _take(self) -> Sequence[Entry]:
        """The next batch; a hold whose caller left before it was sent is dropped."""
        batch: list[Entry] = []
        size_bytes = 0
        queue, most = (self._alone, 1) if self._alone else (self._waiting, _MAX_BATCH)
        while queue and len(batch) < most and size_bytes < _MAX_BATCH_BYTES:
            entry = queue.popleft()
            if not entry.withdrawn:
                batch.append(entry)
                size_bytes += entry.size_bytes
        return self._take() if not batch and (self._alone or self._waiting) else batch

    async def _write(self, batch: Sequence[Entry]) -> None:
        try:
            refusals = await self._commit(batch)
        except (psycopg.Error, TimeoutError, OSError) as error:
            kind = (getattr(error, "sqlstate", None) or "")[:2]
            if kind in _REFUSED:
                self._isolate(batch, error)
            elif kind == _ROLLED_BACK:
                _unsend(batch)
                self._waiting.extendleft(reversed(batch))
            else:
                await self._disconnect()
                self._put_back(batch, error)
                await asyncio.sleep(_RETRY_DELAY_S)
        else:
            _resolve(batch, refusals)

    async def _commit(self, batch: Sequence[Entry]) -> Sequence[Mapping[str, Any]]:
        parameters = {
            "endings": _array(entry.ending for entry in batch),
            "rows": _array(entry.row for entry in batch),
            "holds": _array(entry.hold for entry in batch),
        }
        connection = await self._ready_connection()
        for entry in batch:
            entry.sent = True
        with time_limit(connection, COMMIT_TIMEOUT_S):
            cursor = await connection.execute(QUERIES["apply_ledger"], parameters)
            row = await cursor.fetchone()
        self._used_at_s = time.monotonic()
        return next(iter(row.values())) if row else ()

    async def _ready_connection(self) -> AsyncConnection[Any]:
        connection = self._connection
        if connection is not None and time.monotonic() - self._used_at_s > _CHECK_IDLE_AFTER_S:
            try:
                with time_limit(connection, _CHECK_TIMEOUT_S):
                    await connection.execute("select 1")
            except psycopg.Error:
                await self._disconnect()
        if self._connection is None:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self._connection = await AsyncConnection.connect(self._url, **CONNECTION_ARGUMENTS)
        return self._connection

    def _isolate(self, batch: Sequence[Entry], error: BaseException) -> None:
        """One bad row must not fail its neighbours: each alone, and the bad one gets the error."""
        _unsend(batch)
        if len(batch) > 1:
            self._alone.extend(batch)
            return
        log.error("ledger refused an entry: %s", error)
        diagnosis = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        _fail(batch[0], LedgerUnavailable(f"the ledger refused the entry: {diagnosis or error}"))

    def _put_back(self, batch: Sequence[Entry], error: BaseException) -> None:
        """The database is away: nothing is reserved, and what must be recorded waits for it."""
        log.warning("ledger cannot commit: %s", str(error).strip() or type(error).__name__)
        everyone = (*batch, *self._alone, *self._waiting)
        self._alone.clear()
        self._waiting.clear()
        self._waiting.extend(_within_owed(entry for entry in everyone if entry.hold is None))
        self._fail_all([entry for entry in everyone if entry.hold is not None], LedgerUnavailable(_AWAY))

    def _fail_all(self, entries: Sequence[Entry], error: LedgerUnavailable) -> None:
        for entry in entries:
            if entry.hold is not None and entry.sent:
                self.release(entry)  # its transaction may have committed unseen
            _fail(entry, error)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def read_outcome(done: asyncio.Future[Any]) -> None:
    """Nobody may be waiting for it any more; reading the outcome keeps asyncio from warning."""
    if not done.cancelled():
        done.exception()


def _resolve(batch: Sequence[Entry], refusals: Sequence[Mapping[str, Any]]) -> None:
    refused = {refusal["attempt_id"]: refusal for refusal in refusals}
    for entry in batch:
        if not entry.done.done():
            entry.done.set_result(refused.get(entry.attempt_id))


def _fail(entry: Entry, error: LedgerUnavailable) -> None:
    if not entry.done.done():
        entry.done.set_exception(error)


def _unsend(batch: Sequence[Entry]) -> None:
    """The server said that it rolled back: nothing of it is in doubt."""
    for entry in batch:
        entry.sent = False


def _within_owed(entries: Iterable[Entry]) -> Iterable[Entry]:
    size_bytes = 0
    for entry in entries:
        if entry.ending is None and size_bytes > _MAX_OWED_BYTES:
            _fail(entry, LedgerUnavailable("the database has been away too long; this call's row was dropped."))
            continue
        size_bytes += entry.size_bytes
        yield entry


def _array(parts: Iterable[bytes | None]) -> str:
    return "[" + b",".join(part for part in parts if part is not None).decode() + "]"
