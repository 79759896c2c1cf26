"""The scheduled tasks on a real database, sent by name through a real worker process."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.workers.processes import running_worker
from workers.app import WorkerSettings, create_app
from workers.upkeep import upkeep_tasks


def next_month() -> str:
    today = datetime.now(UTC)
    year, month = (today.year + 1, 1) if today.month == 12 else (today.year, today.month + 1)
    return f"model_inferences_{year}_{month:02}"


def partitions(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select inhrelid::regclass::text from pg_inherits where inhparent = 'model_inferences'::regclass"
        )
        return {name for (name,) in rows}


@pytest.mark.slow
def test_a_dropped_partition_is_made_again_by_the_scheduled_task(
    postgres_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    (wanted,) = [name for name in partitions(postgres_url) if name.endswith(next_month()[-7:])]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'drop table "{wanted}"')  # type: ignore[call-overload]
    assert wanted not in partitions(postgres_url)
    app = create_app(WorkerSettings(redis_url=redis_url, data_dir=tmp_path), upkeep_tasks())
    with running_worker(redis_url, tmp_path, ["upkeep"]):
        for name in upkeep_tasks():
            app.send_task(name)
        deadline = time.monotonic() + 30
        while wanted not in partitions(postgres_url):
            assert time.monotonic() < deadline, [log.read_text() for log in tmp_path.glob("*.log")]
            time.sleep(0.1)
    app.close()
