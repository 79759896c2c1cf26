"""The scheduled tasks: a label on a queue and one call into orchestrator.flow.upkeep; no rule here."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

STORIES: Mapping[str, str] = MappingProxyType(
    {
        "pennyroute.upkeep.sweep_ledger": "sweep_ledger",
        "pennyroute.upkeep.ensure_partitions": "ensure_partitions",
        "pennyroute.upkeep.expire_texts": "expire_texts",
    }
)
"""Task name → function of orchestrator.flow.upkeep; each takes the doors and may run twice."""


def upkeep_tasks() -> dict[str, Callable[[], None]]:
    """Every scheduled task by its name."""
    return {name: _named(story) for name, story in STORIES.items()}


def _named(story: str) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(_tell(story))

    run.__name__ = story
    return run


async def _tell(story: str) -> None:
    """Opens the doors for this one run: a worker for models never pays for the database's libraries."""
    settings = importlib.import_module("orchestrator.settings")
    wiring = importlib.import_module("orchestrator.wiring")
    flow = importlib.import_module("orchestrator.flow.upkeep")
    async with wiring.open_deps(settings.Settings()) as deps:
        await getattr(flow, story)(deps)
