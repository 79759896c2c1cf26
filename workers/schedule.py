"""The beat table as data: what happens when, by the name of the task in upkeep.py; no body here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from celery.schedules import crontab

UPKEEP_QUEUE = "upkeep"


def _entry(task: str, schedule: Any, expires_s: float) -> dict[str, Any]:
    """`expires_s`: a run that found no worker in this time is dropped, the next one is due anyway."""
    return {"task": task, "schedule": schedule, "options": {"queue": UPKEEP_QUEUE, "expires": expires_s}}


BEAT: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "sweep the ledger": _entry("pennyroute.upkeep.sweep_ledger", 60.0, 55.0),
        "make next month's partition": _entry("pennyroute.upkeep.ensure_partitions", crontab(minute=7), 3000.0),
        "expire texts": _entry("pennyroute.upkeep.expire_texts", crontab(minute=23), 3000.0),
    }
)
"""Times are UTC. Every task is idempotent: two beats may tick at once."""
