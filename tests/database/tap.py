"""Runs supabase/tests on a migrated database: `python -m tests.database.tap [DATABASE_URL]`. Needs pgTAP's SQL."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

from orchestrator.adapters.embedded.servers import embedded_servers
from orchestrator.adapters.postgres.migrate import default_folder, migrate

FILES = sorted((default_folder() / "tests").glob("*.test.sql"))
MISSING = (
    "pgTAP is not to be had: neither as an extension of this server nor as a file on this machine. On Debian and "
    "Ubuntu: apt-get install postgresql-15-pgtap (any version will do); or run `supabase test db`."
)
_FAILED = re.compile(r"^(not ok|# Looks like)", re.MULTILINE)


def find_script() -> Path | None:
    """pgTAP as one SQL file, as its packages install it."""
    found = Path("/usr/share/postgresql").glob("*/extension/pgtap--*.sql")
    return max((file for file in found if file.name.count("--") == 1), default=None)


def load_pgtap(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """As an extension where the server has it, else from its script; False where neither is there."""
    has = connection.execute("select 1 from pg_available_extensions where name = 'pgtap'").fetchone()
    script = find_script()
    connection.execute("create schema if not exists extensions")
    if has is not None:
        connection.execute("create extension if not exists pgtap with schema extensions")
    elif script is not None:
        connection.execute("set local search_path = extensions")
        connection.execute(script.read_bytes())
    return has is not None or script is not None


def run(connection: psycopg.Connection[tuple[object, ...]], file: Path) -> str:
    """The file's TAP lines, in order. Nothing it does stays."""
    connection.execute("set search_path = public, extensions")
    try:
        cursor = connection.execute(file.read_bytes())
    except psycopg.Error as error:
        connection.rollback()
        return f"not ok - {file.name} cannot be run: {error}"
    lines: list[str] = []
    while True:
        if cursor.description is not None:
            lines += [str(value) for (value, *_) in cursor.fetchall()]
        if not cursor.nextset():
            return "\n".join(line for line in lines if line.startswith(("ok", "not ok", "#", "1..")))


def failed(tap: str) -> bool:
    """A failed claim, or a plan that does not fit the number of claims."""
    plan = re.match(r"1\.\.(\d+)", tap)
    claims = len(re.findall(r"^(?:not )?ok", tap, re.MULTILINE))
    return plan is None or int(plan[1]) != claims or _FAILED.search(tap) is not None


def main(arguments: Sequence[str]) -> int:
    if arguments:
        return _run_all(arguments[0])
    with (
        tempfile.TemporaryDirectory(prefix="pennyroute-db-test-") as folder,
        embedded_servers(Path(folder) / "data") as urls,
    ):
        asyncio.run(migrate(urls.database_url))
        return _run_all(urls.database_url)


def _run_all(database_url: str) -> int:
    bad = 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        with connection.transaction():
            if not load_pgtap(connection):
                print(MISSING, file=sys.stderr)
                return 2
        for file in FILES:
            tap = run(connection, file)
            print(f"# {file.name}\n{tap}")
            bad += failed(tap)
    print(f"{len(FILES) - bad} of {len(FILES)} files passed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
