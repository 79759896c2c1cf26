"""The same adapters through a transaction pooler (PgBouncer; Supabase's behaves alike). Runs where it is installed."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.ledger import PostgresLedger
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.adapters.postgres.stores import PostgresEmbeddings
from orchestrator.core.errors import BudgetExceeded
from orchestrator.core.types import Ending
from orchestrator.ports import StoredText
from tests.samples import attempt, hold, inference, new_id

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")


@pytest.fixture
def pooled_url(empty_postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """A pool of three server connections, a transaction each, in front of an empty database."""
    url = urlsplit(empty_postgres_url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "users").write_text(f'"{url.username}" "{url.password}"\n')
    (tmp_path / "ini").write_text(
        f"[databases]\n* = host={url.hostname} port={url.port}\n"
        f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n"
        f"auth_type=scram-sha-256\nauth_file={tmp_path}/users\npool_mode=transaction\ndefault_pool_size=3\n"
        "max_client_conn=100\nunix_socket_dir=\n"
    )
    as_root = ["-u", "nobody"] if os.geteuid() == 0 else []
    if as_root:  # PgBouncer refuses to be root; nobody must be able to read its two files
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
    assert PGBOUNCER is not None
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([PGBOUNCER, *as_root, str(tmp_path / "ini")], stdout=log, stderr=log)
    try:
        _wait(port, process, tmp_path / "log")
        yield f"postgresql://{url.username}:{url.password}@127.0.0.1:{port}{url.path}"
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"pgbouncer does not listen: {log.read_text()}")


async def test_migrations_ledger_and_search_work_through_a_transaction_pooler(pooled_url: str) -> None:
    report = await migrate(pooled_url)
    assert report.seeded
    database = Database(pooled_url)
    await database.open()
    ledgers = [PostgresLedger(pooled_url, database) for _ in range(3)]
    for ledger in ledgers:
        await ledger.open()
    await ledgers[0].set_budget("global", 10_000)
    holds = [hold(1_000) for _ in range(60)]
    tries = (ledgers[n % 3].reserve(held) for n, held in enumerate(holds))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    granted = [held for held, outcome in zip(holds, outcomes, strict=True) if outcome is None]
    assert len(granted) == 10
    assert sum(isinstance(outcome, BudgetExceeded) for outcome in outcomes) == 50
    for held in granted:
        await ledgers[0].finish(inference(attempt(held, Ending.SETTLED, cost=700)))
    (budget,) = await ledgers[0].budgets()
    assert (budget.spent_nanousd, budget.reserved_nanousd) == (7_000, 0)
    assert await database.rows("ledger_disagreements") == []
    embeddings = PostgresEmbeddings(database)
    text = StoredText(id=new_id(), model_id="minilm-l6-builtin", text="a", metadata={})
    await embeddings.store("default", "minilm-l6-builtin", [text], [[1.0] + [0.0] * 383])
    (found,) = await embeddings.search("default", "minilm-l6-builtin", [1.0] + [0.0] * 383, 5)
    assert found.text == "a"
    for ledger in ledgers:
        await ledger.close()
    await database.close()
