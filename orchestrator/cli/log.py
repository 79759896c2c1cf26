"""`pennyroute log`: the newest attempts with their cost, live with -f; reads the API's log, keeps none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.screen import AsJson, milliseconds, money, screen, show_json, show_json_line
from orchestrator.cli.server import DataDir, Key, Url, connect
from pennyroute import Pennyroute

_POLL_S = 1.0
_MOST = 1_000
# Attempts overlap: one that began earlier may be written after one that began later. Ids carry the beginning,
# so each look goes back this many rows and leaves out what was shown.
_LOOK_BACK = 200


def log_command(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=_MOST, help="How many to begin with.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Show the newest attempts, oldest first: when, what, which model, cost, latency.

    **Examples**

    ```text
    pennyroute log
    pennyroute log -f
    pennyroute log -n 100 --json
    ```
    """
    with connect(url, key, data_dir) as client, suppress(KeyboardInterrupt):
        if as_json and not follow:
            show_json(_recent(client, lines))
            return
        for row in _rows(client, lines, follow):
            if as_json:
                show_json_line(row)
            else:
                screen().print(line(row), soft_wrap=True, highlight=False)


def _rows(client: Pennyroute, lines: int, follow: bool) -> Iterator[Mapping[str, Any]]:
    rows = _recent(client, max(lines, _LOOK_BACK) if follow else lines)
    yield from rows[-lines:]
    shown = {row["id"] for row in rows}
    while follow:
        time.sleep(_POLL_S)
        ordered = sorted(shown)[-_LOOK_BACK:]
        new = [row for row in _recent(client, _MOST, ordered[0] if ordered else None) if row["id"] not in shown]
        yield from new
        shown = {*ordered, *(row["id"] for row in new)}


def _recent(client: Pennyroute, limit: int, after: str | None = None) -> Sequence[Mapping[str, Any]]:
    """The newest attempts in the order they began."""
    found: list[Mapping[str, Any]] = client.call("GET", "/inferences", limit=limit, after=after)["inferences"]
    return found[::-1]


def line(row: Mapping[str, Any]) -> Text:
    """One attempt in one line; red when it failed, dim when it was not the answer that was served."""
    at = datetime.fromisoformat(row["created_at"]).astimezone().strftime("%H:%M:%S")
    ending = row["error_code"] or ("" if row["accepted"] else "not good enough")
    words = (
        f"{at}  {row['task']:<10} {row['complexity']:<8} {row['model_id']:<28} {row['tier']:<8} "
        f"{money(row['cost_nanousd']):>14} {milliseconds(row['latency_ms']):>9}  "
        f"{row['input_tokens']}→{row['output_tokens']} tokens  {ending}"
    )
    return Text(words.rstrip(), style="red" if row["error_code"] else "" if row["accepted"] else "dim")
