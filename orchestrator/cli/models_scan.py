"""`pennyroute models scan`: weights that are on this machine already, and what local servers offer; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import httpx
from rich.text import Text

from orchestrator.cli.models_local import models_folder, size
from orchestrator.cli.screen import AsJson, note, screen, show_json, table, yes_no
from orchestrator.cli.server import DataDir
from orchestrator.settings import environment_name
from orchestrator.settings import load as load_settings
from registry.load import load
from registry.weights import Found, scan_hub_cache, scan_models

PATIENCE_S = 3.0


def scan_command(*, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Find weights on this machine: the models folder, the cache of huggingface_hub, and local servers (Ollama).

    **Examples**

    ```text
    pennyroute models scan
    OLLAMA_BASE_URL=http://127.0.0.1:11434 pennyroute models scan --json
    ```
    """
    registry, folder = load(), models_folder(data_dir)
    found = [*scan_models(registry, folder), *scan_hub_cache(registry)]
    servers = [server_models(name, address) for name, address in load_settings().open_servers.items()]
    if as_json:
        show_json({"models_folder": str(folder), "found": [asdict(each) for each in found], "servers": servers})
        return
    screen().print(table(("", "place", "model", "variant", "size", "note"), map(_row, found), right=("size",)))
    for server in servers:
        _show_server(server)
    if not found and not any(server["models"] for server in servers):
        note(f"nothing is here yet ({folder}); `pennyroute models download` brings something")
    if not servers:
        note(f"no local server is configured; {environment_name('open_servers')}=ollama=http://127.0.0.1:11434/v1")


def server_models(name: str, address: str) -> dict[str, Any]:
    """What a server of our own holds now: by Ollama's /api/tags, else by /models of the OpenAI API."""
    try:
        with httpx.Client(timeout=PATIENCE_S) as client:
            models = list(_ollama(client, address) or _openai(client, address))
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"name": name, "address": address, "error": f"lists no models: {error}", "models": []}
    return {"name": name, "address": address, "error": None, "models": models}


def _ollama(client: httpx.Client, address: str) -> list[dict[str, Any]] | None:
    answer = client.get(f"{address.removesuffix('/v1')}/api/tags")
    return [_tag(each) for each in answer.json()["models"]] if answer.status_code == 200 else None


def _tag(told: dict[str, Any]) -> dict[str, Any]:
    details = told.get("details") or {}
    return {
        "id": told["name"],
        "bytes": told.get("size"),
        "parameters": details.get("parameter_size"),
        "quantisation": details.get("quantization_level"),
    }


def _openai(client: httpx.Client, address: str) -> Iterator[dict[str, Any]]:
    for each in client.get(f"{address}/models").raise_for_status().json()["data"]:
        yield {"id": each["id"], "bytes": None, "parameters": None, "quantisation": None}


def _row(found: Found) -> tuple[object, ...]:
    return yes_no(found.whole, needed=False), found.place, found.name, found.variant, size(found.bytes), found.note


def _show_server(server: dict[str, Any]) -> None:
    screen().print(Text(f"{server['name']} at {server['address']}", style="bold"))
    if server["error"]:
        note(f"{server['error']}; start it, or correct {environment_name('open_servers')}")
        return
    rows = [(each["id"], size(each["bytes"]), each["parameters"], each["quantisation"]) for each in server["models"]]
    screen().print(table(("model", "size", "parameters", "quantisation"), rows, right=("size",)))
