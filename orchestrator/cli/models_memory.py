"""How much memory models may keep in the worker of each queue: as it announced, else as `up` would start it here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.cli.server import NotRunning, connect
from orchestrator.core.errors import ConfigError
from orchestrator.house import models_bytes, queue_memory_bytes
from orchestrator.settings import load as load_settings
from pennyroute import Pennyroute, PennyrouteError

ASK_TIMEOUT_S = 5.0


def worker_memory(url: str | None = None, key: str | None = None, data_dir: Path | None = None) -> Mapping[str, int]:
    """Queue → bytes. An API that does not answer is none: what `up` would give counts."""
    try:
        with connect(url, key, data_dir, timeout_s=ASK_TIMEOUT_S) as client:
            return shares() | announced(client)
    except (NotRunning, ConfigError):
        return shares()


def shares() -> dict[str, int]:
    """Queue → bytes for models in a worker of `up` on this machine."""
    return queue_memory_bytes(load_settings().worker_memory_share)


def announced(client: Pennyroute) -> dict[str, int]:
    """Queue → bytes for models in one of its live workers, on average where there are several."""
    try:
        checks = client.call("GET", "/health/ready")["checks"]
    except PennyrouteError as error:
        checks = error.problem.get("checks", {})  # something needed is away, which is not asked here
    queues = {name.removeprefix("queue:"): check for name, check in checks.items() if name.startswith("queue:")}
    alive = {name: check for name, check in queues.items() if check.get("workers") and check.get("budget_bytes")}
    return {name: models_bytes(check["budget_bytes"] // check["workers"]) for name, check in alive.items()}
