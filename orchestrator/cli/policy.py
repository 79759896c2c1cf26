"""`pennyroute policy`: which rule routes, as JSON, and putting another one in force; it judges none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.database import DatabaseUrl, find_database
from orchestrator.cli.screen import AsJson, note, screen, show_json, table
from orchestrator.cli.server import DataDir
from orchestrator.cli.simulate_files import CURRENT, DEFAULT, read_policy
from orchestrator.core.errors import InvalidInput
from orchestrator.core.routing.policy import RoutingPolicy
from registry.load import Registry, load

app = typer.Typer(
    help="See the routing policy and put another in force.", no_args_is_help=True, rich_markup_mode="markdown"
)
_BY = "pennyroute policy"

Which = Annotated[str, typer.Argument(help="`current`, `default`, a version of the database or a JSON file.")]


@app.callback()
def _group() -> None: ...


@app.command("list")
def list_command(*, as_json: AsJson = False, database_url: DatabaseUrl = None, data_dir: DataDir = None) -> None:
    """List every version the database holds, the newest first.

    **Example**

    ```text
    pennyroute policy list
    ```
    """
    rows = asyncio.run(_versions(find_database(database_url, data_dir)))
    if as_json:
        show_json([dict(row) for row in rows])
        return
    told = [
        (Text("in force", style="bold green") if row["active"] else "", *(row[name] for name in _COLUMNS))
        for row in rows
    ]
    screen().print(table(("", *_COLUMNS), told))
    if not any(row["active"] for row in rows):
        note("No version is in force: the default routes (`pennyroute policy show default`).")


_COLUMNS = ("version", "name", "created_at", "created_by")


@app.command("show")
def show_command(which: Which = CURRENT, *, database_url: DatabaseUrl = None, data_dir: DataDir = None) -> None:
    """Print a policy as JSON: ladders, thresholds, rules, abilities, contracts. Edit it and `activate` it.

    **Examples**

    ```text
    pennyroute policy show default > policy.json
    pennyroute policy show 3f2a9c51d04e
    ```
    """
    url = None if which == DEFAULT or Path(which).is_file() else find_database(database_url, data_dir)
    show_json(read_policy(which, url).policy.as_dict())


@app.command("activate")
def activate_command(
    which: Which,
    *,
    name: Annotated[str | None, typer.Option(help="What to call it; a file's own name otherwise.")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Put a policy in force: a version from before (a rollback), the default, or a JSON file.

    A rule for some callers is an entry of `rules`; the first that fits a request changes it, and limits only get
    stricter: `{"name": "interns", "users": ["intern-*"], "strategy": "local_only"}`. Try it first:
    `pennyroute simulate --policy policy.json --policy current --data judged.jsonl`. A running API follows in seconds.

    **Examples**

    ```text
    pennyroute policy activate policy.json
    pennyroute policy activate 3f2a9c51d04e
    ```
    """
    url = find_database(database_url, data_dir)
    found = read_policy(which, url)
    policy = RoutingPolicy.from_dict(found.policy.as_dict(), name=name or found.policy.name)
    _check(policy, load())
    asyncio.run(_activate(url, policy))
    screen().print(Text(f"in force: {policy.version} ({policy.name})"))


def _check(policy: RoutingPolicy, registry: Registry) -> None:
    """A misspelt entry would leave its class without that model, and nobody would be told."""
    known = {*registry.cards, *registry.by_role, *(str(card.tier) for card in registry.cards.values())}
    for entries in (*policy.ladders.values(), *policy.task_order.values()):
        for entry in entries:
            if entry not in known and "/" not in entry:
                roles = ", ".join(sorted(registry.by_role))
                told = f"ladder entry {entry!r} is no role ({roles}), no tier and no model of the registry."
                raise InvalidInput(f"{told} Correct it.", field="ladders")


async def _versions(url: str) -> Sequence[Mapping[str, Any]]:
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    return await wiring.policy_versions(url)


async def _activate(url: str, policy: RoutingPolicy) -> None:
    from orchestrator import wiring  # noqa: PLC0415 - as above

    async with wiring.open_desk(url) as desk:
        await desk.policies.activate(policy, _BY)
