"""Who sees what through Supabase's API, acted out as each role on the migrated database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from orchestrator.adapters.postgres.migrate import MigrationFailed, migrate
from orchestrator.adapters.postgres.rows import ending_row, hold_row, inference_row
from orchestrator.core.types import Caller, Ending
from tests.samples import attempt, hold, inference, request

Connection = psycopg.Connection[tuple[Any, ...]]
READABLE = (
    *("budget_periods", "budgets", "embeddings", "inference_texts", "jobs", "model_inferences"),
    *("neighbours", "quality_labels"),
)
# What a Supabase project has before the first migration: its roles get every new table and function by themselves.
SUPABASE: LiteralString = """
create schema auth; create schema extensions;
do $$ begin
  if not exists (select from pg_roles where rolname = 'anon') then create role anon nologin noinherit; end if;
  if not exists (select from pg_roles where rolname = 'authenticated') then
    create role authenticated nologin noinherit; end if;
  if not exists (select from pg_roles where rolname = 'service_role') then
    create role service_role nologin noinherit bypassrls; end if;
end $$;
create function auth.uid() returns uuid language sql stable as
  $$ select nullif(current_setting('request.jwt.claims', true)::jsonb ->> 'sub', '')::uuid $$;
create function auth.jwt() returns jsonb language sql stable as
  $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
create table notes (words text);
create function ours_v1() returns int language sql return 1;
"""


@pytest.fixture(params=["plain Postgres", "like Supabase"])
def migrated_url(request: pytest.FixtureRequest) -> str:
    if request.param == "plain Postgres":
        return str(request.getfixturevalue("postgres_url"))
    url = str(request.getfixturevalue("empty_postgres_url"))
    with psycopg.connect(url) as connection:
        connection.execute(SUPABASE)
    asyncio.run(migrate(url))
    return url


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    """As the owner, in one transaction that is rolled back."""
    with psycopg.connect(migrated_url) as connection:
        yield connection
        connection.rollback()


@contextmanager
def acting_as(connection: Connection, role: LiteralString, claims: object = None) -> Iterator[None]:
    connection.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims) if claims else "",))
    connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
    yield
    connection.execute("reset role")


def every(connection: Connection, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
    return connection.execute(query, parameters).fetchall()


def denied(connection: Connection, statement: LiteralString) -> bool:
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def fill(connection: Connection) -> None:
    """One row of everything for each of two tenants."""
    for tenant in ("acme", "rival"):
        connection.execute(
            "insert into budgets (name, scope, scope_value, period, limit_nanousd)"
            " values (%s, 'tenant', %s, 'day', 9000)",
            (tenant, tenant),
        )
        held = hold(1_000, caller=Caller(tenant=tenant))
        ended = inference(attempt(held, Ending.SETTLED, cost=10), request=request(caller=Caller(tenant=tenant)))
        apply = "select ledger_apply_v1(%s, %s, %s)"
        connection.execute(apply, (Jsonb([]), Jsonb([]), Jsonb([hold_row(held)])))
        rows = [inference_row(ended, paid=True)]
        connection.execute(apply, (Jsonb([ending_row(ended.attempt)]), Jsonb(rows), Jsonb([])))
        connection.execute(
            "insert into embeddings (id, tenant, model_id, text, embedding)"
            " values (gen_random_uuid(), %s, 'm', 't', array_fill(1, array[384])::real[]::extensions.vector)",
            (tenant,),
        )
        connection.execute(
            "insert into jobs (id, tenant, task, request) values (gen_random_uuid(), %s, 'embed', '{}')", (tenant,)
        )
        connection.execute(
            "insert into quality_labels (id, tenant, task_class, outcomes) values (gen_random_uuid(), %s, 'c', '{}')",
            (tenant,),
        )
        connection.execute(
            "insert into neighbours (tenant, model_id, text_sha256, embedding, outcomes)"
            " values (%s, 'm', sha256('t'), array_fill(1, array[384])::real[]::extensions.vector, '{}')",
            (tenant,),
        )


def test_every_table_has_row_level_security(connection: Connection) -> None:
    found = every(
        connection,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        " and not relrowsecurity and relname <> 'notes'",
    )
    assert found == []
    partitions = every(connection, "select count(*) from pg_inherits where inhparent = 'model_inferences'::regclass")
    assert partitions[0][0] >= 3


def test_anon_may_nothing_and_a_signed_in_person_may_read_eight_tables(connection: Connection) -> None:
    granted = every(
        connection,
        "select distinct r.rolname, c.relname, p.name"
        "  from pg_class c, pg_roles r, unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references',"
        "       'trigger']) as p (name)"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') and c.relname <> 'notes'"
        "   and r.rolname in ('anon', 'authenticated') and has_table_privilege(r.oid, c.oid, p.name)"
        " order by 1, 2",
    )
    assert granted == [("authenticated", table, "select") for table in READABLE]
    sequences = every(
        connection,
        "select r.rolname, c.relname from pg_class c, pg_roles r where c.relnamespace = 'public'::regnamespace"
        " and c.relkind = 'S' and r.rolname in ('anon', 'authenticated')"
        " and has_sequence_privilege(r.oid, c.oid, 'usage, select, update')",
    )
    assert sequences == []


def test_of_our_functions_only_the_tenants_name_is_for_everybody(connection: Connection) -> None:
    callable_by = every(
        connection,
        "select distinct p.proname from pg_proc p, pg_roles r where p.pronamespace = 'public'::regnamespace"
        " and r.rolname in ('anon', 'authenticated') and p.proname <> 'ours_v1'"
        " and has_function_privilege(r.oid, p.oid, 'execute')",
    )
    assert callable_by == [("current_tenant_v1",)]


def test_no_function_runs_with_its_owners_rights_or_reads_a_search_path_it_was_given(connection: Connection) -> None:
    found = every(
        connection,
        "select proname from pg_proc where pronamespace = 'public'::regnamespace and proname <> 'ours_v1'"
        " and (prosecdef or (prosqlbody is null"
        "      and strpos(coalesce(proconfig::text, ''), 'search_path=public, pg_temp') = 0))",
        *(),
    )
    assert found == []


def test_a_signed_in_person_reads_the_rows_of_their_tenant_only(connection: Connection) -> None:
    fill(connection)
    with acting_as(connection, "authenticated", {"app_metadata": {"tenant": "acme"}}):
        assert every(connection, "select tenant from model_inferences") == [("acme",)]
        assert every(connection, "select count(*) from inference_texts") == [(1,)]
        assert every(connection, "select tenant from embeddings") == [("acme",)]
        assert every(connection, "select tenant from jobs") == [("acme",)]
        assert every(connection, "select tenant from quality_labels") == [("acme",)]
        assert every(connection, "select tenant from neighbours") == [("acme",)]
        assert every(connection, "select name from budgets") == [("acme",)]
        assert every(connection, "select spent_nanousd from budget_periods") == [(10,)]


@pytest.mark.parametrize("claims", [None, {"sub": "x"}, {"user_metadata": {"tenant": "acme"}}, {"tenant": "acme"}])
def test_without_a_tenant_from_the_server_a_person_sees_nothing(connection: Connection, claims: object) -> None:
    fill(connection)
    with acting_as(connection, "authenticated", claims):
        for table in READABLE:
            counted = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
            assert counted == (0,), table


def test_a_signed_in_person_writes_nothing_and_reads_no_secret_table(connection: Connection) -> None:
    fill(connection)
    statements: list[LiteralString] = [
        "update budgets set limit_nanousd = 9",
        "delete from model_inferences",
        "truncate model_inferences",
        "insert into jobs (id, tenant, task, request) values (gen_random_uuid(), 'acme', 'embed', '{}')",
        "update embeddings set text = ''",
        "select from api_keys",
        "select from settings",
        "select from routing_policies",
        "select from attempts",
        "select from ledger_entries",
        "select from contract_watches",
        "update quality_labels set outcomes = '{}'",
        "delete from neighbours",
        "select from budget_states",
        "select from model_inferences_default",
        "select ledger_apply_v1('[]', '[]', '[]')",
        "select ledger_sweep_v1('0 s')",
        "select expire_texts_v1('0 s')",
        "select expire_label_texts_v1('0 s')",
    ]
    with acting_as(connection, "authenticated", {"app_metadata": {"tenant": "acme"}}):
        assert [statement for statement in statements if not denied(connection, statement)] == []


def test_the_service_role_moves_money_and_sees_everything(connection: Connection) -> None:
    with acting_as(connection, "service_role"):
        fill(connection)
        assert every(connection, "select count(*) from model_inferences") == [(2,)]
        assert every(connection, "select sum(spent_nanousd) from budget_states where scope = 'tenant'") == [(20,)]
        assert every(connection, "select subject from ledger_disagreements") == []
        assert every(connection, "select ledger_sweep_v1('0 s')") == [(0,)]


def test_a_later_partition_is_as_closed_as_the_first(connection: Connection) -> None:
    made = every(connection, "select ensure_partitions_v1('2031-05-05T00:00:00Z')")
    assert made == [("model_inferences_2031_05",), ("inference_texts_2031_05",)]
    test_every_table_has_row_level_security(connection)
    test_anon_may_nothing_and_a_signed_in_person_may_read_eight_tables(connection)


def test_what_a_project_had_before_stays_as_it_was(empty_postgres_url: str) -> None:
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(SUPABASE)
        connection.commit()
        asyncio.run(migrate(empty_postgres_url))
        with acting_as(connection, "anon"):
            assert every(connection, "insert into notes values ('kept') returning words") == [("kept",)]
            assert every(connection, "select ours_v1()") == [(1,)]


def test_an_extension_in_another_schema_is_refused_with_the_command_that_moves_it(empty_postgres_url: str) -> None:
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector with schema public")
        connection.execute("create table mine (v vector(3))")
        connection.execute("insert into mine values ('[1,2,3]')")
        with pytest.raises(MigrationFailed, match="alter extension vector set schema extensions"):
            asyncio.run(migrate(empty_postgres_url))
        connection.execute("create schema if not exists extensions")
        connection.execute("alter extension vector set schema extensions")
        asyncio.run(migrate(empty_postgres_url))
        assert every(connection, "select v::text from mine") == [("[1,2,3]",)]
