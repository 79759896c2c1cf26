"""Prints the figures of `local` for a terminal; measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

NAMES = {
    "direct": "our backend, direct",
    "torch": "sentence-transformers, direct",
    "infinity-torch": "Infinity (torch), HTTP",
    "infinity-onnx": "Infinity (ONNX), HTTP",
    "pennyroute": "Pennyroute, HTTP + queue",
}


def show(told: Mapping[str, Any], console: Console) -> None:
    """The tables a person reads; `told` is what --json prints."""
    console.print(_sentences(told["figures"]))
    console.print(_start(told))
    way, turns = told["round_trip"], told["turns"]
    console.print(f"queue round trip at rest: p50 {way['p50_ms']:.2f} ms, p99 {way['p99_ms']:.2f} ms")
    console.print(f"three models of {turns['model_mb']} MB in turn, memory for two ({turns['budget_mb']} MB in all):")
    asked = f"{turns['requests']} requests, {' + '.join(map(str, turns['requests_per_model']))}"
    wait = f"longest wait {turns['longest_wait_ms']:.0f} ms, p50 {turns['p50_ms']:.0f} ms"
    console.print(f"  {turns['loads_per_100']} loads per 100 requests ({asked}), {wait}")
    for name, examples in told["bad"].items():
        console.print(f"[red]bad answers[/] of {name}, for example: {examples}", markup=True)
    for goal in told["goals"]:
        mark = "[green]met[/]" if goal["met"] else "[red]missed[/]"
        console.print(f"{mark}: {goal['name']} is {goal['value']:.4g}, goal {goal['goal']}")
    console.print(f"{told['took_s']} s in all, {told['machine']['threads']} thread per inference, fp32")


def _sentences(figures: list[dict[str, Any]]) -> Table:
    table = Table(title="Sentences embedded")
    for name in ("texts a call", "callers", "backend", "sentences/s (least–greatest)", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    table.add_column("CPU ms/sentence")
    for f in figures:
        least, greatest = f["spread"]
        table.add_row(
            str(f["texts_per_call"]),
            str(f["callers"]),
            NAMES[f["backend"]],
            f"{f['sentences_per_s']:,.0f} ({least:,.0f}–{greatest:,.0f})",
            *("" if f[each] is None else f"{f[each]:.1f}" for each in ("p50_ms", "p99_ms")),
            _parts(f["cpu_ms_per_item"]),
        )
    return table


def _parts(parts: Mapping[str, float]) -> str:
    if len(parts) == 1:
        return f"{next(iter(parts.values())):.2f}"
    return f"{sum(parts.values()):.2f} = " + " + ".join(f"{value:.2f} {part}" for part, value in parts.items())


def _start(told: Mapping[str, Any]) -> Table:
    table = Table(title="Start and memory")
    for name in ("backend", "first answer after s", "memory MB at most"):
        table.add_column(name, justify="right")
    for name, start_s in told["start_s"].items():
        parts = told["memory_mb"][name]
        each = " + ".join(f"{value:.0f} {part}" for part, value in parts.items())
        table.add_row(NAMES[name], f"{start_s:.1f}", f"{sum(parts.values()):.0f} = {each}" if len(parts) > 1 else each)
    return table
