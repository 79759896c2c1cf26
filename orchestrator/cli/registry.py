"""`pennyroute registry check`: what on the cards is unverified, stale or wrong; changes no card."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.screen import AsJson, note, screen, show_json, table
from orchestrator.core.errors import ConfigError
from registry.check import Finding, Level, findings
from registry.load import BadCard, load

app = typer.Typer(help="Judge the model cards.", no_args_is_help=True, rich_markup_mode="markdown")
_STYLES = {Level.ERROR: "red", Level.DRIFT: "yellow", Level.STALE: "yellow", Level.UNVERIFIED: "dim"}


@app.callback()
def _group() -> None: ...


@app.command("check")
def check_command(
    *,
    level: Annotated[list[Level] | None, typer.Option(help="Only this level; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what is unverified, stale, drifted from the price library, or wrong. Exits 1 only for errors.

    **Examples**

    ```text
    pennyroute registry check
    pennyroute registry check --level error --level drift
    ```
    """
    try:
        registry = load()
    except BadCard as error:
        raise ConfigError(f"{error} Correct the card; nothing is loaded until then.") from error
    found = [one for one in findings(registry, datetime.now(UTC).date()) if not level or one.level in level]
    if as_json:
        plain = [{name: str(getattr(one, name)) for name in Finding.__dataclass_fields__} for one in found]
        show_json({"registry_version": registry.version, "findings": plain})
    else:
        rows = [(Text(one.level, style=_STYLES[one.level]), one.card_id, one.message) for one in found]
        screen().print(table(("level", "card", "finding"), rows))
        counts = Counter(one.level for one in found)
        told = ", ".join(f"{counts[one]} {one}" for one in Level if counts[one]) or "nothing found"
        note(f"{len(registry.cards)} cards, registry {registry.short}: {told}")
    if any(one.level is Level.ERROR for one in found):
        raise typer.Exit(1)
