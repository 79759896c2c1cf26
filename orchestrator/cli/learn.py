"""`pennyroute learn`: how able each model is, from the labels kept; decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator.cli.database import DatabaseUrl, find_database
from orchestrator.cli.screen import AsJson, note, screen, show_json, table
from orchestrator.cli.server import DataDir
from orchestrator.flow.adapt import Learned, adapt
from registry.load import load

_BY = "pennyroute learn"


def learn_command(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be learned; change nothing.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Learn from labels how able each model is, and predict by it from now on.

    A model starts as able as its card states. Each label (`pennyroute label`, `POST /labels`) that knows the outcome of
    its answer moves it: a few labels a little, many far. What was hard to ask counts less against it. Where labels of
    several task classes are kept, each model also gets an ability per class, which starts from the card and the other
    classes. The abilities are part of the routing policy, so a running API follows within seconds, and every answer
    names the version.

    **Examples**

    ```text
    pennyroute learn --dry-run
    pennyroute learn
    ```
    """
    learned = asyncio.run(_learn(find_database(database_url, data_dir), dry_run))
    if as_json:
        show_json([{name: getattr(each, name) for name in Learned.__dataclass_fields__} for each in learned])
        return
    rows = [
        (
            each.model_id,
            each.topic or "all",
            f"{each.labels:,}",
            f"{each.stated:.0%}",
            f"{each.before:.0%}",
            f"{each.after:.0%}",
        )
        for each in learned
    ]
    screen().print(table(("model", "class", "labels", "stated", "in force", "learned"), rows))
    if not learned:
        note("No label with a text is kept yet: `pennyroute label --help` says how to give one.")
    elif dry_run:
        note("Nothing was changed: run it without --dry-run to predict by this.")


async def _learn(url: str, dry: bool) -> Sequence[Learned]:
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    async with wiring.open_desk(url) as desk:
        return await adapt(desk, load(), _BY, dry=dry)
