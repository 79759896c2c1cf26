"""`pennyroute keys`, `db` and `ledger`: what an operator does on the database itself; holds no SQL."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.screen import AsJson, note, screen, show_json, table
from orchestrator.cli.server import DataDir, NotRunning, read_house
from orchestrator.settings import load

keys = typer.Typer(help="Make API keys.", no_args_is_help=True, rich_markup_mode="markdown")
db = typer.Typer(help="Bring a database to the newest schema.", no_args_is_help=True, rich_markup_mode="markdown")
ledger = typer.Typer(help="Check the books.", no_args_is_help=True, rich_markup_mode="markdown")

DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="The Postgres to use.", show_default="DATABASE_URL, else what runs on the data folder"),
]


class Role(StrEnum):
    """viewer reads, operator also asks, admin also changes budgets and settings."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@keys.callback()
@db.callback()
@ledger.callback()
def _group() -> None: ...


@keys.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    *,
    tenant: Annotated[str, typer.Option(help="Whose data it sees.")] = "default",
    role: Annotated[Role, typer.Option(help="viewer reads, operator also asks, admin also sets.")] = Role.OPERATOR,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Make an API key and show it once; the database keeps only its hash.

    **Examples**

    ```text
    pennyroute keys create my-app
    pennyroute keys create dashboard --role viewer --tenant acme
    ```
    """
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    secret = f"pr_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(secret.encode()).digest()
    made = asyncio.run(wiring.create_key(find_database(database_url, data_dir), name, tenant, role, digest))
    if as_json:
        show_json({"key": secret, "id": made.id, "name": made.name, "tenant": made.tenant, "role": made.role})
        return
    screen().print(Text(secret, style="bold"), soft_wrap=True, highlight=False)
    note(f"Key of {made.name}: tenant {made.tenant}, role {made.role}. It is shown this once; only its hash is kept.")


@db.command("push")
def push_command(
    *,
    allow_out_of_order: Annotated[
        bool, typer.Option("--allow-out-of-order", help="Apply a file older than the newest applied one.")
    ] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Apply the migrations that a database lacks, each in one transaction; safe to repeat.

    **Examples**

    ```text
    pennyroute db push
    DATABASE_URL=postgresql://… pennyroute db push
    ```
    """
    from orchestrator import wiring  # noqa: PLC0415 - as above

    report = asyncio.run(wiring.migrate(find_database(database_url, data_dir), allow_out_of_order=allow_out_of_order))
    if as_json:
        show_json({"applied": report.applied, "total": report.total, "seeded": report.seeded})
    else:
        done = f"applied {', '.join(report.applied)}" if report.applied else "nothing to apply"
        screen().print(Text(f"{done}; {report.total} migrations stand{', seeded' if report.seeded else ''}"))


@ledger.command("verify")
def verify_command(*, as_json: AsJson = False, database_url: DatabaseUrl = None, data_dir: DataDir = None) -> None:
    """Compare balances, entries, attempts and log; every disagreement is shown, and then the exit status is 1.

    **Example**

    ```text
    pennyroute ledger verify
    ```
    """
    from orchestrator import wiring  # noqa: PLC0415 - as above

    found = asyncio.run(wiring.ledger_disagreements(find_database(database_url, data_dir)))
    if as_json:
        show_json({"disagreements": [dict(row) for row in found]})
    elif found:
        screen().print(table(("subject", "finding"), [(row["subject"], row["finding"]) for row in found]))
    else:
        screen().print(Text("✓ The ledger adds up: balances, entries, attempts and log agree.", style="green"))
    if found:
        raise typer.Exit(1)


def find_database(database_url: str | None, data_dir: Path | None) -> str:
    """Option over setting over the embedded Postgres of the `up` that runs. Raises NotRunning."""
    settings = load()
    folder = (data_dir or settings.data_dir).expanduser().absolute()
    here = read_house(folder).get("database_url")
    chosen = database_url or (here if data_dir else settings.database_url or here)
    if not chosen:
        raise NotRunning(
            f"No database is known: no Pennyroute runs on {folder} and DATABASE_URL is not set. "
            "Start `pennyroute up` in another terminal, or name a database with --database-url."
        )
    return chosen
