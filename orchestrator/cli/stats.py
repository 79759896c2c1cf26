"""`pennyroute stats`: what was spent on what, as the API adds it up from the log; adds up nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.screen import AsJson, milliseconds, money, note, screen, show_json, table
from orchestrator.cli.server import DataDir, Key, Url, connect

_NUMBERS = ("attempts", "accepted", "failed", "cost", "p50", "p95", "tokens in", "out")


def stats_command(
    *,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="How far back.")] = 30.0,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Show per task and model: attempts, cost, latency; then the total and how the budgets stand.

    **Examples**

    ```text
    pennyroute stats
    pennyroute stats --days 1
    pennyroute stats --json
    ```
    """
    with connect(url, key, data_dir) as client:
        stats = client.call("GET", "/stats", days=days)
        budgets = client.call("GET", "/budgets")["budgets"]
    if as_json:
        show_json({**stats, "budgets": budgets})
        return
    rows = [_row(row) for row in stats["models"]]
    screen().print(table(("task", "model", "tier", *_NUMBERS), rows, right=_NUMBERS))
    if not rows:
        note('Nothing was asked in this time. Try `pennyroute route "What is 2+2?"`.')
    screen().print(Text(f"total {money(stats['cost_nanousd'])} in {days:g} days", style="bold"))
    for budget in budgets:
        note(budget_words(budget))


def _row(row: Mapping[str, Any]) -> tuple[object, ...]:
    latencies = (milliseconds(row["p50_latency_ms"]), milliseconds(row["p95_latency_ms"]))
    counts = (row["attempts"], row["accepted"], row["failed"])
    cost = money(row["cost_nanousd"])
    return (
        row["task"],
        row["model_id"],
        row["tier"],
        *counts,
        cost,
        *latencies,
        row["input_tokens"],
        row["output_tokens"],
    )


def budget_words(budget: Mapping[str, Any]) -> str:
    left = budget["limit_nanousd"] - budget["spent_nanousd"] - budget["reserved_nanousd"]
    until = f", resets {str(budget['resets_at'])[:10]}" if budget["resets_at"] else ""
    held = f" and {money(budget['reserved_nanousd'])} held" if budget["reserved_nanousd"] else ""
    return (
        f"budget {budget['name']}: {money(budget['spent_nanousd'])} spent{held} of {money(budget['limit_nanousd'])} "
        f"a {budget['window']}, {money(left)} left{until}"
    )
