"""Applies supabase/migrations to any Postgres, recorded as the Supabase CLI does; holds no schema itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from orchestrator.core.errors import ConfigError

# Every migrator locks this one number, inside its transaction, so that it holds through a transaction pooler.
LOCK_KEY = 7_365_092_108_551_447
NAME = re.compile(r"(\d{14})_([A-Za-z0-9_-]+)\.sql")
SEED = "supabase/seed.sql"  # the name under which the Supabase CLI records it
HISTORY = b"""
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
    version text primary key, statements text[], name text);
create table if not exists supabase_migrations.seed_files (path text primary key, hash text not null);
"""


class MigrationRefused(ConfigError):
    """The files and the database's history do not fit together; nothing was changed."""

    code = "migration_refused"


class MigrationFailed(ConfigError):
    """A file's SQL failed; its transaction was rolled back, earlier files stay applied."""

    code = "migration_failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One file: `version` is the 14 digits, `sql` its whole text."""

    version: str
    name: str
    file: Path
    sql: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationReport:
    """Versions applied by this call (in order), how many files stand in all, and whether the seed ran now."""

    applied: tuple[str, ...]
    total: int
    seeded: bool


def default_folder() -> Path:
    """The project's supabase/ folder in a checkout; in an installed package the copy beside this file."""
    beside = Path(__file__).resolve().parent
    for folder in (beside.parents[2] / "supabase", beside):
        if (folder / "migrations").is_dir():
            return folder
    raise MigrationRefused(
        f"No migrations were found in {beside.parents[2] / 'supabase'} or {beside}. "
        "Run from a source checkout, or reinstall Pennyroute."
    )


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """Read `folder`/migrations in order. Raises MigrationRefused for a bad or repeated name."""
    found: dict[str, Migration] = {}
    for file in sorted((folder / "migrations").glob("*.sql")):
        match = NAME.fullmatch(file.name)
        if match is None:
            raise MigrationRefused(
                f"{file.name} is not a migration's name. Call it <14 digits UTC>_<word>.sql, "
                "for example 20260102030405_budgets.sql."
            )
        version, name = match[1], match[2]
        if version in found:
            raise MigrationRefused(
                f"{file.name} and {found[version].file.name} have the same version {version}. Renumber the newer one."
            )
        found[version] = Migration(version=version, name=name, file=file, sql=file.read_text(encoding="utf-8"))
    return tuple(found.values())


async def migrate(
    database_url: str, folder: Path | None = None, *, allow_out_of_order: bool = False
) -> MigrationReport:
    """Bring the database to the newest migration of `folder` (a supabase/ folder), then seed it once.

    Each file is one transaction together with its row of history. Safe to run any number of times, by several
    processes at once and through a transaction pooler. Raises MigrationRefused (a file changed after it was
    applied; an unapplied file older than the newest applied one, unless `allow_out_of_order`; a bad name),
    MigrationFailed (with file and line) or psycopg.OperationalError (no connection).
    """
    folder = folder or default_folder()
    migrations, seed = read_migrations(folder), _read_seed(folder / "seed.sql")
    applied: list[str] = []
    async with await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, prepare_threshold=None, application_name="pennyroute-migrate"
    ) as connection:
        while (version := await _apply_next(connection, migrations, allow_out_of_order)) is not None:
            applied.append(version)
        seeded = await _seed(connection, folder / "seed.sql", seed)
    return MigrationReport(applied=tuple(applied), total=len(migrations), seeded=seeded)


def _read_seed(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None


async def _apply_next(
    connection: psycopg.AsyncConnection[Any], migrations: Sequence[Migration], allow_out_of_order: bool
) -> str | None:
    """Apply the oldest pending migration; None when there is none. Looks again under the lock each time."""
    async with connection.transaction():
        await _lock(connection)
        history = await _history(connection)
        _require_unchanged(migrations, history)
        pending = [migration for migration in migrations if migration.version not in history]
        if not pending:
            return None
        _require_no_gap(pending[0], history, allow_out_of_order)
        await _run(connection, pending[0].file, pending[0].sql)
        await connection.execute(
            "insert into supabase_migrations.schema_migrations (version, statements, name) values (%s, %s, %s)",
            (pending[0].version, [pending[0].sql], pending[0].name),
        )
    return pending[0].version


async def _seed(connection: psycopg.AsyncConnection[Any], file: Path, sql: str | None) -> bool:
    if sql is None:
        return False
    async with connection.transaction():
        await _lock(connection)
        done = await connection.execute("select 1 from supabase_migrations.seed_files where path = %s", (SEED,))
        if await done.fetchone() is not None:
            return False
        await _run(connection, file, sql)
        await connection.execute(
            "insert into supabase_migrations.seed_files (path, hash) values (%s, %s)",
            (SEED, hashlib.sha256(sql.encode()).hexdigest()),
        )
    return True


async def _lock(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute("select pg_advisory_xact_lock(%s)", (LOCK_KEY,))
    # Under the lock, because two sessions running `create … if not exists` at once may both fail.
    found = await connection.execute(
        "select to_regclass('supabase_migrations.schema_migrations') is not null"
        " and to_regclass('supabase_migrations.seed_files') is not null"
    )
    row = await found.fetchone()
    if row is None or not row[0]:
        await connection.execute(HISTORY)


async def _history(connection: psycopg.AsyncConnection[Any]) -> dict[str, list[str] | None]:
    rows = await connection.execute("select version, statements from supabase_migrations.schema_migrations")
    return dict(await rows.fetchall())


async def _run(connection: psycopg.AsyncConnection[Any], file: Path, sql: str) -> None:
    try:
        # No parameters: the simple protocol, which takes many statements at once and leaves % alone.
        await connection.execute(sql.encode())
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise MigrationFailed(_explain(file, sql, error)) from error
    if connection.info.transaction_status is not TransactionStatus.INTRANS:
        raise MigrationFailed(
            f"{file.name} ends its own transaction. Take begin, commit and rollback out of it: each file "
            "runs as one transaction. What it did before is already committed; mend that by hand."
        )


def _explain(file: Path, sql: str, error: psycopg.Error) -> str:
    position = error.diag.statement_position
    line = f" line {sql[: int(position)].count(chr(10)) + 1}" if position else ""
    hint = f" Hint: {error.diag.message_hint}." if error.diag.message_hint else ""
    what = error.diag.message_primary or str(error)
    return f"{file.name}{line} failed: {what}.{hint} Nothing of this file was kept."


def _require_unchanged(migrations: Sequence[Migration], history: Mapping[str, Sequence[str] | None]) -> None:
    for migration in migrations:
        statements = history.get(migration.version)
        if statements and _essence("".join(statements)) != _essence(migration.sql):
            raise MigrationRefused(
                f"{migration.file.name} was changed after it was applied to this database. Put its old text "
                "back and write the change as a new migration."
            )


def _require_no_gap(first: Migration, history: Mapping[str, object], allow_out_of_order: bool) -> None:
    newest = max(history, default="")
    if first.version < newest and not allow_out_of_order:
        raise MigrationRefused(
            f"{first.file.name} is not applied, but the newer version {newest} is. Renumber it after "
            f"{newest}, or allow it with --allow-out-of-order."
        )


def _essence(sql: str) -> str:
    """The text without white space and semicolons: the Supabase CLI stores statements split and trimmed."""
    return re.sub(r"[\s;]+", "", sql)
