"""`pennyroute config`: each setting, its value and where it came from; changes the live ones through the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.text import Text

from orchestrator.cli.screen import AsJson, note, screen, show_json, table
from orchestrator.cli.server import DataDir, Key, NotRunning, Url, connect
from orchestrator.settings import LIVE, Settings, environment_name, load, load_with_sources
from pennyroute import Forbidden, Unauthorized

_HELP = """Show and change settings.

Without a command: each setting, its value, where it came from. Precedence: request > database > environment > file
(pennyroute.toml, or what PENNYROUTE_CONFIG names) > default.

**Examples**

```text
pennyroute config
pennyroute config set default_strategy local_only
pennyroute config unset default_strategy
```
"""
app = typer.Typer(help=_HELP, invoke_without_command=True, rich_markup_mode="markdown")
# URLs carry passwords; keys are secrets by type.
_HIDDEN = frozenset({"database_url", "redis_url"})


@app.callback()
def show_command(
    context: typer.Context,
    *,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    settings, sources = load_with_sources()
    told, why_not = _from_database(url, key, data_dir)
    shown = settings.over(told)
    rows = [_row(name, shown, "database" if name in told else sources[name]) for name in Settings.model_fields]
    if as_json:
        show_json({"settings": rows, "database": why_not or "read"})
        return
    columns = ("setting", "value", "from", "live", "what it is")
    screen().print(table(columns, [_cells(row) for row in rows]))
    note("live: `pennyroute config set NAME VALUE` changes it in every process within seconds. The others: restart.")
    if why_not:
        note(f"The database's settings are not shown: {why_not}")


@app.command("set")
def set_command(
    name: Annotated[str, typer.Argument(help="A live setting.")],
    value: Annotated[str, typer.Argument(help="Its new value.")],
    *,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Change a live setting in the database, for every process, within seconds. Needs an admin's key.

    **Examples**

    ```text
    pennyroute config set store_texts false
    pennyroute config set call_timeout_s 20
    ```
    """
    _put(name, _read_value(value), as_json, url, key, data_dir)


@app.command("unset")
def unset_command(
    name: Annotated[str, typer.Argument(help="A live setting.")],
    *,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Take the database's value away, so that environment, file or default hold again.

    **Example**

    ```text
    pennyroute config unset call_timeout_s
    ```
    """
    _put(name, None, as_json, url, key, data_dir)


def _put(name: str, value: Any, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    with connect(url, key, data_dir) as client:
        told = client.call("PUT", f"/settings/{name}", {"value": value})
    if as_json:
        show_json(told)
    else:
        screen().print(Text(f"{name} is now {_plain_words(value)}" if value is not None else f"{name} is unset"))


def _read_value(text: str) -> Any:
    """JSON where it is JSON (numbers, true, false), else the text as it stands."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _from_database(url: str | None, key: str | None, data_dir: Path | None) -> tuple[Mapping[str, Any], str | None]:
    """The database's values, or the reason why they cannot be had; a named API that does not answer is an error."""
    try:
        with connect(url, key, data_dir, timeout_s=5.0) as client:
            told: Mapping[str, Any] = client.call("GET", "/settings")["settings"]
    except NotRunning as error:
        if url or load().url:
            raise
        return {}, error.message
    except (Unauthorized, Forbidden) as error:
        return {}, error.message
    return told, None


def _row(name: str, settings: Settings, source: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": _hidden(name, getattr(settings, name)),
        "source": source,
        "environment": environment_name(name),
        "live": name in LIVE,
        "description": Settings.model_fields[name].description,
    }


def _hidden(name: str, value: Any) -> Any:
    secret = isinstance(value, SecretStr) or (name in _HIDDEN and value is not None)
    if secret:
        return "(set, hidden)"
    return str(value) if isinstance(value, Path) else value


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    source = row["source"] if row["source"] != "environment" else row["environment"]
    what = row["description"] if row["source"] == "environment" else f"{row['description']} ({row['environment']})"
    set_here = row["source"] != "default"
    value = Text(_plain_words(row["value"]), style="bold" if set_here else "")
    return row["name"], value, source, "live" if row["live"] else "", what


def _plain_words(value: Any) -> str:
    if value is None or value in ({}, ()):
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
