"""Keys, migrations and books on a database itself: also one that is empty, away, or no database at all."""

from __future__ import annotations

import json
import socket

import psycopg
import pytest

from tests.cli.conftest import Cli

COMMANDS = (("keys", "create", "app"), ("db", "push"), ("ledger", "verify"))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_that_is_away_is_told_in_its_own_words(cli: Cli, command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told = cli(*command, "--database-url", f"postgresql://postgres:hidden@127.0.0.1:{port}/none")
    assert told.exit_code == 1
    assert told.stderr.startswith("Error (store_unavailable) the database cannot answer (connection failed")
    assert f"port {port} failed: Connection refused" in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert "hidden" not in told.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_no_url_is_told_so_and_not_repeated(cli: Cli, command: tuple[str, ...]) -> None:
    told = cli(*command, "--database-url", "postgres//me:secret@db/app")
    assert told.exit_code == 1
    assert told.stderr.startswith("Error (invalid_config) the database's address is no Postgres URL")
    assert "secret" not in told.stderr


def test_an_empty_database_says_to_push_and_after_that_all_works(cli: Cli, empty_postgres_url: str) -> None:
    there = ("--database-url", empty_postgres_url)
    for command in (("keys", "create", "app"), ("ledger", "verify")):
        told = cli(*command, *there)
        assert told.exit_code == 1
        assert "Run `pennyroute db push`" in told.stderr
    first = json.loads(cli("db", "push", "--json", *there).stdout)
    assert len(first["applied"]) == first["total"] > 0
    assert first["seeded"] is True
    assert cli("db", "push", *there).stdout == f"nothing to apply; {first['total']} migrations stand\n"
    assert cli("keys", "create", "app", *there).stdout.startswith("pr_")
    assert "The ledger adds up" in cli("ledger", "verify", *there).stdout


def test_the_database_keeps_the_hash_of_a_key_and_not_the_key(cli: Cli, postgres_url: str) -> None:
    made = json.loads(cli("keys", "create", "app", "--role", "admin", "--json", "--database-url", postgres_url).stdout)
    with psycopg.connect(postgres_url) as connection:
        name, role, digest = connection.execute(
            "select name, role, secret_sha256 = sha256(%s::bytea) from api_keys", (made["key"].encode(),)
        ).fetchone() or ("", "", None)
    assert (name, role, digest) == ("app", "admin", True)


def test_books_that_disagree_are_shown_and_fail(cli: Cli, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "insert into budget_periods (budget_id, starts_at, ends_at, spent_nanousd)"
            " select id, now(), now() + interval '1 day', 5 from budgets limit 1"
        )
    shown = cli("ledger", "verify", "--database-url", postgres_url)
    assert shown.exit_code == 1
    assert "balance 0 reserved, 5 spent; entries say 0, 0" in shown.stdout
    plain = cli("ledger", "verify", "--json", "--database-url", postgres_url)
    assert len(json.loads(plain.stdout)["disagreements"]) == 1
