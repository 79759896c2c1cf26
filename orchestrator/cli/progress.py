"""What `pennyroute up` shows: a line per step, the address, requests to try, and later what happens; and the bar of a
transfer."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from orchestrator.house import Event, EventKind
from registry.weights import Moved, Report


class Progress:
    """One line per thing that is done; after the start, one line per thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._started_s: dict[str, float] = {}
        self._calm = False

    def done(self, what: str, detail: str, since_s: float) -> None:
        self._console.print(
            f"  [green]✓[/] {what:<18} [dim]{time.monotonic() - since_s:5.1f} s[/]  {detail}", soft_wrap=True
        )

    def calm(self) -> float:
        """From now on starts are news. Returns the seconds since the beginning."""
        self._calm = True
        return time.monotonic() - self._began_s

    def hear(self, event: Event) -> None:
        """The supervisor's listener."""
        if event.kind is EventKind.STARTED:
            self._started_s[event.name] = time.monotonic()
        if not self._calm and event.kind is EventKind.READY:
            self.done(event.name, f"process {event.pid}", self._started_s[event.name])
        elif event.kind is not EventKind.STARTED and (self._calm or event.kind is not EventKind.READY):
            clock = datetime.now().astimezone().strftime("%H:%M:%S")
            detail = f" ({event.detail})" if event.detail else ""
            self._console.print(f"  [dim]{clock}[/] {event.name} {event.kind.value}{detail}", soft_wrap=True)


def say_where(console: Console, address: str, key_file: Path, took_s: float) -> None:
    """Where the API answers, where its key lies, and three requests to paste."""
    console.print(
        f"\n[bold]Pennyroute answers at {address}[/] after {took_s:.1f} s (API pages: {address}/docs)", soft_wrap=True
    )
    console.print(f"The key lies in {key_file}, readable by you alone. Try, in another terminal:\n", soft_wrap=True)
    for command in three_requests(address, key_file):
        console.print(command, soft_wrap=True, markup=False, highlight=False)
    console.print("\nCtrl-C stops everything that was started here; the data stays.")


def three_requests(address: str, key_file: Path) -> tuple[str, ...]:
    """Shell lines a newcomer can paste: the key, then embed, sentiment and generate."""
    curl = f"curl -s {address}/route -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' -d"
    return (
        f"KEY=$(cat {shlex.quote(str(key_file))})",
        f"""{curl} '{{"task": "embed", "input": ["A penny saved is a penny earned."]}}'""",
        f"""{curl} '{{"task": "sentiment", "input": "What a lovely day!"}}'""",
        f"""{curl} '{{"task": "generate", "input": "What is 2+2?"}}'""",
    )


@contextmanager
def transfer_bar(what: str, *, silent: bool = False, total_bytes: int | None = None) -> Iterator[Report]:
    """A bar on standard error, gone once it is done, for bytes that move; `silent` shows none.

    Inside, call what it gives with how far it is. On a screen that is no terminal nothing is drawn.
    """
    console = Console(stderr=True)
    hidden = silent or not console.is_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as bars:
        task = bars.add_task(what, total=total_bytes)

        def report(moved: Moved) -> None:
            bars.update(task, completed=moved.bytes, total=moved.total_bytes, description=f"{what} {moved.file}")

        yield report
