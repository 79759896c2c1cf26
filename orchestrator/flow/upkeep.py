"""The chores that beat starts: lapse lost holds, make next month's partitions, let old texts go."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ports import Deps


async def sweep_ledger(deps: Deps) -> int:
    """Lapses holds whose process vanished; returns how many."""
    return await deps.ledger.sweep(deps.limits.hold_lapses_after_s)


async def ensure_partitions(deps: Deps) -> Sequence[str]:
    return await deps.inferences.ensure_partitions()


async def expire_texts(deps: Deps) -> int:
    return await deps.inferences.expire_texts(deps.limits.text_retention_days)
