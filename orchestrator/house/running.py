"""Everything of one machine, started in order for the length of a `with`; it prints nothing by itself."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psycopg

from orchestrator.adapters.embedded.data_folder import DataFolder, secret_file, write_private
from orchestrator.adapters.embedded.errors import PortInUse
from orchestrator.adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.adapters.embedded.process import ProcessSpec
from orchestrator.adapters.embedded.redis import EmbeddedRedis
from orchestrator.adapters.embedded.supervisor import Event, Supervisor
from orchestrator.adapters.postgres.migrate import MigrationReport, migrate
from orchestrator.core.errors import ConfigError, StoreUnavailable
from orchestrator.house.programs import FLEETS, api_programs, beat_program, program_env, worker_programs

# In run/: where everything answers while it runs, for the other commands on this machine (0600: it holds URLs).
HOUSE_FILE = "house.json"


class Listener(Protocol):
    """Who is told what starts and what happens; `calm` is called once everything runs."""

    def done(self, what: str, detail: str, since_s: float) -> None: ...

    def hear(self, event: Event) -> None: ...

    def calm(self) -> float: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class UpOptions:
    """What `up` starts. A given URL means: use that server and start none. Ports None: choose and remember.

    `env` is laid over the environment of API and workers; `app` replaces the API's module:factory. A given
    `worker_memory_share` is what each worker may keep of the machine's memory.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    api_processes: int = 1
    database_url: str | None = None
    redis_url: str | None = None
    postgres_port: int | None = None
    redis_port: int | None = None
    fleets: Sequence[tuple[str, tuple[str, ...]]] = FLEETS
    beat: bool = True
    worker_memory_share: float | None = None
    app: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class House:
    """Everything runs: where the API answers, the file with its key, and the servers behind it."""

    address: str
    key_file: Path
    database_url: str
    redis_url: str
    supervisor: Supervisor


@contextmanager
def running_house(
    options: UpOptions, progress: Listener, *, on_supervisor: Callable[[Supervisor], None] = lambda supervisor: None
) -> Iterator[House]:
    """Everything `up` starts, for the length of the `with`; for demos, benches and end-to-end tests too.

    Call it from a thread that outlives the `with`. `on_supervisor` receives it before anything is
    started. Raises PennyrouteError (port, folder, disk, data, migration, start).
    """
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(options.host, options.port))
        began_s = time.monotonic()
        folder = stack.enter_context(DataFolder.open(options.data_dir))
        progress.done("data folder", str(folder.path), began_s)
        supervisor = Supervisor(logs=folder.logs, run=folder.run, on_event=progress.hear, held=(folder.lock_fd,))
        on_supervisor(supervisor)
        stack.enter_context(supervisor)
        database_url, redis_url = _start(options, folder, listener, supervisor, progress)
        house = House(
            address=_address(options.host, listener),
            key_file=secret_file(folder.path, "admin-key"),
            database_url=database_url,
            redis_url=redis_url,
            supervisor=supervisor,
        )
        told = {name: str(getattr(house, name)) for name in ("address", "key_file", "database_url", "redis_url")}
        write_private(folder.run / HOUSE_FILE, json.dumps(told) + "\n")
        try:
            yield house
        finally:
            (folder.run / HOUSE_FILE).unlink(missing_ok=True)
            progress.calm()


def _start(
    options: UpOptions,
    folder: DataFolder,
    listener: socket.socket,
    supervisor: Supervisor,
    progress: Listener,
) -> tuple[str, str]:
    """Start all of it in order; the URLs of the database and of Redis."""
    folder.secret("admin-key")
    database_url, redis_url = _servers(options, folder, supervisor)
    began_s = time.monotonic()
    report = _migrate(database_url)
    progress.done("migrations", _migration_words(report), began_s)
    env = {**program_env(database_url, redis_url, folder.path), **options.env}
    # onnxruntime leaves a file of its own in the folder for temporary files.
    work_env = {**env, "TMPDIR": str(folder.run)}
    # Begun together, stopped in reverse: the API ends its requests while the workers still answer them.
    workers = worker_programs(options.fleets, redis_url, work_env, options.worker_memory_share)
    supervisor.begin(*workers, *([beat_program(env)] * options.beat))
    supervisor.start(*api_programs(options.api_processes, listener, folder.run, env, options.app))
    return database_url, redis_url


def _servers(options: UpOptions, folder: DataFolder, supervisor: Supervisor) -> tuple[str, str]:
    """Start the servers that are not configured; the URLs of the database and of Redis."""
    database_url, redis_url = options.database_url, options.redis_url
    specs: list[ProcessSpec] = []
    if not redis_url:
        redis = EmbeddedRedis(folder, port=options.redis_port)
        redis.prepare()
        redis_url = redis.url
        specs.append(redis.process())
    if not database_url:
        postgres = EmbeddedPostgres(folder, port=options.postgres_port)
        postgres.prepare()
        database_url = postgres.url
        specs.append(postgres.process())
    supervisor.start(*specs)
    return database_url, redis_url


def _migrate(database_url: str) -> MigrationReport:
    try:
        return asyncio.run(migrate(database_url))
    except psycopg.OperationalError as error:
        raise StoreUnavailable(
            f"The database does not answer: {str(error).strip()}. Check DATABASE_URL, or unset it to use the "
            "embedded Postgres."
        ) from error


def _migration_words(report: MigrationReport) -> str:
    if not report.applied:
        return f"{report.total} stand"
    return f"{len(report.applied)} of {report.total} applied{', seeded' if report.seeded else ''}"


def _listen(host: str, port: int) -> socket.socket:
    """The API's listening socket, opened here so that it outlives a restart of the API."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} on {host} is already in use, so the API cannot listen there. Stop the program that "
                f"holds it (`ss -ltnp 'sport = :{port}'` shows it) or choose another port with --port."
            ) from error
        raise ConfigError(
            f"The API cannot listen on {host} port {port} ({error.strerror or error}). "
            "Choose an address of this machine with --host and a port above 1023 with --port."
        ) from error


def _address(host: str, listener: socket.socket) -> str:
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
