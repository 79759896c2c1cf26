"""The scheduled tasks: a label on a queue and one call into orchestrator.flow.upkeep; no rule here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def upkeep_tasks() -> dict[str, Callable[[], None]]:
    """Every scheduled task by its name. Each may run twice and may be killed anywhere."""
    return {
        "pennyroute.upkeep.sweep_ledger": sweep_ledger,
        "pennyroute.upkeep.ensure_partitions": ensure_partitions,
        "pennyroute.upkeep.expire_texts": expire_texts,
    }


def sweep_ledger() -> None:
    """Lapses holds whose process vanished."""
    asyncio.run(_tell("sweep_ledger"))


def ensure_partitions() -> None:
    """Makes the partitions of this month and the next where they are absent."""
    asyncio.run(_tell("ensure_partitions"))


def expire_texts() -> None:
    """Lets texts go that are older than their retention."""
    asyncio.run(_tell("expire_texts"))


async def _tell(story: str) -> None:
    """Opens the doors for this one run: database connections are not kept between chores."""
    # Imported here: a worker for models never pays for the database's and the providers' libraries.
    from orchestrator import settings, wiring  # noqa: PLC0415
    from orchestrator.flow import upkeep  # noqa: PLC0415

    stories = {
        "sweep_ledger": upkeep.sweep_ledger,
        "ensure_partitions": upkeep.ensure_partitions,
        "expire_texts": upkeep.expire_texts,
    }
    async with wiring.open_deps(settings.load()) as deps:
        await stories[story](deps)
