"""The migration runner on a real Postgres, with small folders of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from orchestrator.adapters.postgres.migrate import (
    MigrationFailed,
    MigrationRefused,
    MigrationReport,
    migrate,
)

FIRST = "create table fruit (name text primary key);\ninsert into fruit values ('apple; 100%');\n"
SECOND = "do $$ begin perform 1; end $$;\nalter table fruit add column colour text;\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "migrations").mkdir()
    write(tmp_path, "20260101000000_fruit", FIRST)
    write(tmp_path, "20260102000000_colour", SECOND)
    (tmp_path / "seed.sql").write_text("insert into fruit values ('pear') on conflict do nothing;")
    return tmp_path


def write(folder: Path, stem: str, sql: str) -> None:
    (folder / "migrations" / f"{stem}.sql").write_text(sql)


def run(url: str, folder: Path, *, allow_out_of_order: bool = False) -> MigrationReport:
    return asyncio.run(migrate(url, folder, allow_out_of_order=allow_out_of_order))


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_migrations_run_in_order_and_are_recorded_as_the_supabase_cli_does(
    empty_postgres_url: str, folder: Path
) -> None:
    report = run(empty_postgres_url, folder)
    assert report == MigrationReport(applied=("20260101000000", "20260102000000"), total=2, seeded=True)
    assert rows(empty_postgres_url, "select name, colour from fruit order by name") == [
        ("apple; 100%", None),
        ("pear", None),
    ]
    history = "select version, statements, name from supabase_migrations.schema_migrations order by version"
    assert rows(empty_postgres_url, history) == [
        ("20260101000000", [FIRST], "fruit"),
        ("20260102000000", [SECOND], "colour"),
    ]


def test_a_second_run_applies_nothing_and_does_not_seed_again(empty_postgres_url: str, folder: Path) -> None:
    run(empty_postgres_url, folder)
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute("delete from fruit")
    assert run(empty_postgres_url, folder) == MigrationReport(applied=(), total=2, seeded=False)
    assert rows(empty_postgres_url, "select count(*) from fruit") == [(0,)]


def test_two_migrators_at_once_apply_each_file_once(empty_postgres_url: str, folder: Path) -> None:
    async def both() -> list[MigrationReport]:
        return list(await asyncio.gather(*(migrate(empty_postgres_url, folder) for _ in range(4))))

    reports = asyncio.run(both())
    applied = sorted(version for report in reports for version in report.applied)
    assert applied == ["20260101000000", "20260102000000"]
    assert [report.seeded for report in reports].count(True) == 1


def test_a_file_changed_after_it_was_applied_is_refused(empty_postgres_url: str, folder: Path) -> None:
    run(empty_postgres_url, folder)
    write(folder, "20260101000000_fruit", FIRST.replace("text primary key", "text"))
    with pytest.raises(MigrationRefused, match=r"20260101000000_fruit\.sql was changed after it was applied"):
        run(empty_postgres_url, folder)


def test_history_written_by_the_supabase_cli_in_split_statements_is_accepted(
    empty_postgres_url: str, folder: Path
) -> None:
    run(empty_postgres_url, folder)
    split = ["create table fruit (name text primary key)", "insert into fruit values ('apple; 100%')"]
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(
            "update supabase_migrations.schema_migrations set statements = %s where name = 'fruit'", (split,)
        )
    assert run(empty_postgres_url, folder).applied == ()


def test_an_unapplied_file_older_than_the_newest_applied_is_refused_unless_allowed(
    empty_postgres_url: str, folder: Path
) -> None:
    run(empty_postgres_url, folder)
    write(folder, "20260101120000_late", "create table late ();")
    with pytest.raises(MigrationRefused, match=r"20260101120000_late\.sql .* newer version 20260102000000"):
        run(empty_postgres_url, folder)
    assert run(empty_postgres_url, folder, allow_out_of_order=True).applied == ("20260101120000",)


def test_a_failing_file_leaves_nothing_behind_and_names_its_line(empty_postgres_url: str, folder: Path) -> None:
    write(folder, "20260103000000_broken", "create table half ();\nselect 1;\nselect nonsense;\n")
    with pytest.raises(MigrationFailed, match=r'broken\.sql line 3 failed: column "nonsense" does not exist'):
        run(empty_postgres_url, folder)
    assert rows(empty_postgres_url, "select to_regclass('half')::text, to_regclass('fruit')::text") == [(None, "fruit")]


def test_a_file_that_ends_its_own_transaction_is_reported(empty_postgres_url: str, folder: Path) -> None:
    write(folder, "20260103000000_own", "commit;")
    with pytest.raises(MigrationFailed, match=r"own\.sql ends its own transaction"):
        run(empty_postgres_url, folder)


def test_a_name_without_fourteen_digits_is_refused(empty_postgres_url: str, folder: Path) -> None:
    write(folder, "0001_fruit", "select 1;")
    with pytest.raises(MigrationRefused, match=r"0001_fruit\.sql is not a migration's name"):
        run(empty_postgres_url, folder)


def test_two_files_with_one_version_are_refused(empty_postgres_url: str, folder: Path) -> None:
    write(folder, "20260102000000_other", "select 1;")
    with pytest.raises(MigrationRefused, match="have the same version 20260102000000"):
        run(empty_postgres_url, folder)


def test_the_test_database_fixture_is_migrated_and_private(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create table only_here ()")
        assert connection.execute("select current_database() <> 'migrated_template'").fetchone() == (True,)
        found = connection.execute("select to_regclass('supabase_migrations.schema_migrations')::text").fetchone()
    assert found == ("supabase_migrations.schema_migrations",)
