"""`pennyroute up`: everything on one machine, supervised until Ctrl-C; it composes and reports, decides nothing."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from orchestrator.adapters.embedded.data_folder import DataFolder, secret_file
from orchestrator.adapters.embedded.errors import PortInUse
from orchestrator.adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.adapters.embedded.process import ProcessSpec
from orchestrator.adapters.embedded.redis import EmbeddedRedis
from orchestrator.adapters.embedded.supervisor import Supervisor
from orchestrator.adapters.postgres.migrate import MigrationReport, migrate
from orchestrator.cli.programs import FLEETS, api_programs, beat_program, program_env, worker_programs
from orchestrator.cli.progress import Progress, say_where
from orchestrator.core.errors import ConfigError, PennyrouteError, StoreUnavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class UpOptions:
    """What `up` starts. A given URL means: use that server and start none. Ports None: choose and remember."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    api_processes: int = 1
    database_url: str | None = None
    redis_url: str | None = None
    postgres_port: int | None = None
    redis_port: int | None = None
    fleets: Sequence[tuple[str, tuple[str, ...]]] = FLEETS
    beat: bool = True
    app: str | None = None


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal; unwinds through the `with` blocks, which stop everything."""


def up(options: UpOptions, console: Console) -> None:
    """Start everything, say where it answers, keep it running until a signal; stop all of it, and only it.

    Raises PennyrouteError (port, folder, disk, data, migration, start) with words for the person who typed it.
    """
    progress = Progress(console)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(options.host, options.port))
        began_s = time.monotonic()
        folder = stack.enter_context(DataFolder.open(options.data_dir))
        progress.done("data folder", str(folder.path), began_s)
        supervisor = Supervisor(logs=folder.logs, run=folder.run, on_event=progress.hear, held=(folder.lock_fd,))
        _stop_on_signals(supervisor)
        stack.enter_context(supervisor)
        try:
            _start(options, folder, listener, supervisor, progress)
            address = _address(options.host, listener)
            say_where(console, address, secret_file(folder.path, "admin-key"), progress.calm())
            while True:
                supervisor.check()
                threading.Event().wait(1.0)
        except StopRequested:
            progress.calm()
            console.print("\nStopping what was started (Ctrl-C again to hurry) …")


def _start(
    options: UpOptions,
    folder: DataFolder,
    listener: socket.socket,
    supervisor: Supervisor,
    progress: Progress,
) -> None:
    folder.secret("admin-key")
    database_url, redis_url = _servers(options, folder, supervisor)
    began_s = time.monotonic()
    report = _migrate(database_url)
    progress.done("migrations", _migration_words(report), began_s)
    env = program_env(database_url, redis_url, folder.path)
    # Begun together, stopped in reverse: the API ends its requests while the workers still answer them.
    supervisor.begin(*worker_programs(options.fleets, redis_url, env), *([beat_program(env)] * options.beat))
    supervisor.start(*api_programs(options.api_processes, listener, folder.run, env, options.app))


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


def _stop_on_signals(supervisor: Supervisor) -> None:
    """First signal: unwind and stop in order. Later ones: stop waiting."""
    asked = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            supervisor.hurry()
            return
        asked.set()
        raise StopRequested

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)


def up_command(
    *,
    data_dir: Annotated[
        Path, typer.Option(help="Folder for everything: databases, models, logs, keys. One `up` per folder.")
    ] = Path("~/.local/share/pennyroute"),
    host: Annotated[str, typer.Option(help="Address to listen on. 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API.")] = 8080,
    api_processes: Annotated[int, typer.Option(min=1, max=64, help="API processes sharing the port.")] = 1,
    database_url: Annotated[
        str | None,
        typer.Option(help="Use this Postgres (Supabase too) and start none.", show_default="embedded"),
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Use this Redis and start none.", show_default="embedded")
    ] = None,
    postgres_port: Annotated[
        int | None, typer.Option(help="Port of the embedded Postgres.", show_default="a free one, remembered")
    ] = None,
    redis_port: Annotated[
        int | None, typer.Option(help="Port of the embedded Redis.", show_default="a free one, remembered")
    ] = None,
) -> None:
    """Start everything on this machine and keep it running until Ctrl-C.

    Starts Postgres with pgvector and Redis (unless DATABASE_URL and REDIS_URL name others), applies the
    migrations, starts the API, the workers that can run here and the clock, and restarts what dies. All data
    lies in one folder; a second start finds it again.
    """
    options = UpOptions(
        data_dir=data_dir,
        host=host,
        port=port,
        api_processes=api_processes,
        database_url=database_url,
        redis_url=redis_url,
        postgres_port=postgres_port,
        redis_port=redis_port,
    )
    run_up(options)


def run_up(options: UpOptions) -> None:
    """`up` with its errors in plain words on stderr; raises typer.Exit(1) for them."""
    try:
        up(options, Console())
    except StopRequested:
        pass  # came before there was anything to stop
    except PennyrouteError as error:
        Console(stderr=True).print(f"[red]Error[/] [dim]({error.code})[/]", end=" ")
        Console(stderr=True).print(error.message, soft_wrap=True, markup=False, highlight=False)
        raise typer.Exit(1) from error
