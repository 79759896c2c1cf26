"""`pennyroute up`: the house, kept running until Ctrl-C; signals and words, nothing else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.progress import Progress, say_where
from orchestrator.core.errors import PennyrouteError
from orchestrator.house import Supervisor, UpOptions, running_house
from orchestrator.settings import Settings, environment_name, load


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal; unwinds through the `with` blocks, which stop everything."""


def up(options: UpOptions, console: Console) -> None:
    """Start everything, say where it answers, keep it running until a signal; stop all of it, and only it.

    Raises PennyrouteError (port, folder, disk, data, migration, start) with words for the person who typed it.
    """
    progress = Progress(console)
    signals = _Signals()
    with signals.installed(), running_house(options, progress, on_supervisor=signals.hurry_later) as house:
        say_where(console, house.address, house.key_file, progress.calm())
        try:
            while True:
                house.supervisor.check()
                threading.Event().wait(1.0)
        except StopRequested:
            console.print("\nStopping what was started (Ctrl-C again to hurry) …")


def _default(name: str) -> str:
    return f"{environment_name(name)}, else {Settings.model_fields[name].default}"


class _Signals:
    """First signal: unwind, which stops in order. Later ones: `on_second`, which stops waiting."""

    def __init__(self) -> None:
        self.on_second: Callable[[], None] = lambda: None
        self._asked = False

    def hurry_later(self, supervisor: Supervisor) -> None:
        self.on_second = supervisor.hurry

    @contextmanager
    def installed(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, self._hear) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self.on_second()
            return
        self._asked = True
        raise StopRequested


def up_command(
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for everything: databases, models, logs, keys.", show_default=_default("data_dir")),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.", show_default=_default("host")),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the API; 0: any.", show_default=_default("port"))
    ] = None,
    api_processes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="API processes sharing the port.", show_default=_default("api_processes")),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(help="Use this Postgres (Supabase too) and start none.", show_default="DATABASE_URL"),
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Use this Redis and start none.", show_default="REDIS_URL")
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
    lies in one folder, used by one `up` at a time; a second start finds it again.
    """
    with plain_errors():
        settings = load()
        options = UpOptions(
            data_dir=data_dir or settings.data_dir,
            host=host or settings.host,
            port=settings.port if port is None else port,
            api_processes=api_processes or settings.api_processes,
            database_url=database_url or settings.database_url,
            redis_url=redis_url or settings.redis_url,
            postgres_port=postgres_port,
            redis_port=redis_port,
            worker_memory_share=settings.worker_memory_share,
        )
        up(options, Console())


@contextmanager
def plain_errors() -> Iterator[None]:
    """Our own errors in plain words on stderr and exit status 1; a stop before anything ran is no error."""
    with suppress(StopRequested):
        try:
            yield
        except PennyrouteError as error:
            console = Console(stderr=True)
            console.print(f"[red]Error[/] [dim]({error.code})[/]", end=" ")
            console.print(error.message, soft_wrap=True, markup=False, highlight=False)
            raise typer.Exit(1) from error
