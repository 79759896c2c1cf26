"""Looks whether each thing the service needs is well: database, Redis, queues, disk, memory. Changes nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from orchestrator.core.errors import PennyrouteError

_PATIENCE_S = 2.0
_MIN_FREE_DISK_BYTES = 500_000_000
_MIN_FREE_MEMORY_BYTES = 200_000_000

Check = dict[str, Any]


class Queues(Protocol):
    def queues(self) -> Mapping[str, Mapping[str, Any]]: ...

    def trouble(self) -> str | None: ...


class LiveHealth:
    """`required` checks decide readiness; a queue without a worker only makes its models unavailable."""

    def __init__(self, ping_database: Callable[[], Awaitable[object]], queues: Queues, data_dir: Path) -> None:
        self._ping_database = ping_database
        self._queues = queues
        self._data_dir = data_dir

    async def checks(self) -> Mapping[str, Mapping[str, Any]]:
        trouble = self._queues.trouble()
        checks: dict[str, Check] = {
            "database": await self._database(),
            "redis": {"ok": trouble is None, "required": True, "detail": trouble or "answers"},
            "disk": _disk(self._data_dir),
            "memory": _memory(),
        }
        for name, queue in self._queues.queues().items():
            detail = f"{queue['workers']} workers, {queue['length']} waiting"
            checks[f"queue:{name}"] = {"ok": queue["workers"] > 0, "required": False, "detail": detail, **queue}
        return checks

    async def _database(self) -> Check:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._ping_database()
        except (PennyrouteError, TimeoutError) as error:
            return {"ok": False, "required": True, "detail": str(error) or f"no answer in {_PATIENCE_S} s"}
        return {"ok": True, "required": True, "detail": "answers"}


def _disk(folder: Path) -> Check:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return {
        "ok": free >= _MIN_FREE_DISK_BYTES,
        "required": True,
        "detail": f"{free // 10**6} MB free",
        "free_bytes": free,
    }


def _memory() -> Check:
    free = available_memory_bytes()
    if free is None:
        return {"ok": True, "required": False, "detail": "not known on this system"}
    return {
        "ok": free >= _MIN_FREE_MEMORY_BYTES,
        "required": True,
        "detail": f"{free // 10**6} MB free",
        "free_bytes": free,
    }


def available_memory_bytes() -> int | None:
    """MemAvailable of /proc/meminfo; None where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    kibibytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kibibytes) * 1024 if kibibytes else None
