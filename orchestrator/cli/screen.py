"""How things look in a terminal: tables, JSON, money, errors in one line. Fetches and decides nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]

# Piped output has no width of its own; this keeps the columns of a log readable in a file.
PIPED_WIDTH = 160
NANOUSD_PER_USD = 10**9


def screen() -> Console:
    """Standard output, looked up now: it may have been redirected since the last call."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def show_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def show_json_line(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show_error(code: str, message: str) -> None:
    """One line on standard error: what was wrong and what to do next, as the error says it."""
    console = Console(stderr=True)
    console.print(Text.assemble(("Error ", "red"), (f"({code}) ", "dim"), message), soft_wrap=True, highlight=False)


def note(words: str) -> None:
    """One dim line below a result."""
    screen().print(Text(words, style="dim"), soft_wrap=True, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A quiet table; `right` names the columns of numbers. Cells are plain text, never markup."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text("–" if cell is None else str(cell)) for cell in row))
    return made


def progress_bar() -> Progress:
    """On standard error, gone when it is done: so many of how many, and how long yet."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def money(nanousd: int) -> str:
    """Exact dollars, at least two decimals: 1500000 → "$0.0015"."""
    sign, whole, rest = "-" if nanousd < 0 else "", *divmod(abs(nanousd), NANOUSD_PER_USD)
    return f"{sign}${whole}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def megabytes(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e6:.0f} MB"


def yes_no(well: bool, *, needed: bool = True) -> Text:
    """✓, or ✗ in red where it is needed and in yellow where it is not."""
    return Text("✓", style="green") if well else Text("✗", style="red" if needed else "yellow")
