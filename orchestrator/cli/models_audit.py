"""`pennyroute models audit`: who loaded, unloaded, downloaded, imported or removed weights; changes nothing."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli.models_local import models_folder, size
from orchestrator.cli.screen import AsJson, note, screen, show_json, table
from orchestrator.cli.server import DataDir
from registry.weights import entries


def audit_command(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the newest.")] = 50,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show what was done with weights on this machine, newest last: time, deed, model, bytes, who.

    **Examples**

    ```text
    pennyroute models audit
    pennyroute models audit --model bge-small-en-v1.5 --json
    ```
    """
    folder = models_folder(data_dir)
    found = [each for each in entries(folder) if model is None or each.get("card") == model][-limit:]
    if as_json:
        show_json(found)
        return
    rows = [_row(each) for each in found]
    columns = ("at (UTC)", "deed", "model", "variant", "size", "who", "detail")
    screen().print(table(columns, rows, right=("size",)))
    if not found:
        note(f"nothing was done with weights {f'of {model} ' if model else ''}in {folder} yet")


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    moved = entry.get("bytes")
    told = (entry.get("at"), entry.get("deed"), entry.get("card"), entry.get("variant"))
    return (*told, size(moved) if isinstance(moved, int) else None, entry.get("who"), entry.get("detail"))
