"""`pennyroute models list|info`: the cards, what of them is on this machine, and with a running API what can be called
now; the words that change something lie in models_weights.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli import models_audit, models_bench, models_bring, models_doctor, models_scan, models_weights
from orchestrator.cli.models_local import Local, engine_lack, local_facts, models_folder, size
from orchestrator.cli.models_memory import worker_memory
from orchestrator.cli.screen import AsJson, megabytes, money, note, screen, show_json, table, yes_no
from orchestrator.cli.server import DataDir, Key, NotRunning, Url, connect
from orchestrator.core.errors import ModelNotFound
from orchestrator.settings import load as load_settings
from registry import weights
from registry.load import Registry, UnknownModel, load
from registry.schema import Card, Price, Task, Tier

app = typer.Typer(
    help="See the models that may be called, and bring their weights.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_OFFLINE = "No API runs here, so what can be called now is not known: these are the cards. `pennyroute up` starts one."


@app.callback()
def _group() -> None: ...


app.command("doctor")(models_doctor.doctor_command)
app.command("bench")(models_bench.bench_command)
app.command("scan")(models_scan.scan_command)
app.command("download")(models_weights.download_command)
app.command("prefetch")(models_weights.prefetch_command)
app.command("import")(models_bring.import_command)
app.command("verify")(models_weights.verify_command)
app.command("remove")(models_bring.remove_command)
app.command("audit")(models_audit.audit_command)


@app.command("list")
def list_command(
    *,
    task: Annotated[Task | None, typer.Option(help="Only models for this task.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="Only models of this tier.")] = None,
    available: Annotated[bool, typer.Option("--available", help="Only those that can be called now.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """List the models: size, licence, are their weights here, would they fit in the memory of their worker.

    With a running API also which can be called now and what makes the rest available. ≈ is an estimate, ? is not known
    before the first download.

    **Examples**

    ```text
    pennyroute models list --task generate
    pennyroute models list --tier local
    pennyroute models list --available
    ```
    """
    models = _from_api(task, tier, url, key, data_dir)
    live = models is not None
    if models is None:
        models = [_told(card) for card in load().cards.values() if _wanted(card, task, tier)]
    if available:
        models = [model for model in models if model["available"]]
    registry, folder, memory = load(), models_folder(data_dir), worker_memory(url, key, data_dir)
    facts = {model["id"]: _local(registry, model["id"], folder, memory) for model in models}
    if as_json:
        show_json([{**model, **_spread(registry, model["id"], facts[model["id"]])} for model in models])
        return
    order = {str(one): one.rank for one in Tier}
    ordered = sorted(models, key=lambda model: (order[model["tier"]], model["id"]))
    rows = [_row(model, registry, facts[model["id"]]) for model in ordered]
    columns = ("now", "model", "tier", "tasks", "licence", "size", "memory", "fits", "here", "what is missing")
    screen().print(table(columns, rows, right=("size", "memory")))
    note(f"{len(models)} models" if live else _OFFLINE)


@app.command("info")
def info_command(
    model_id: Annotated[str, typer.Argument(help="Id or alias of a model.", metavar="ID")],
    *,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Show one card: what the model can, what it costs from when on, where its facts come from.

    **Examples**

    ```text
    pennyroute models info claude-sonnet
    pennyroute models info minilm-l6-builtin --json
    ```
    """
    card, missing = _card(model_id, url, key, data_dir)
    if as_json:
        show_json({**card.model_dump(mode="json"), "unverified": card.unverified, "missing": missing})
        return
    screen().print(Text(f"{card.name} ({card.id})", style="bold"))
    screen().print(table(("", ""), [(name, value) for name, value in _facts(card, missing) if value]))
    if card.variants and card.queue:
        columns = ("variant", "format", "runs on", "size", "memory", "here", "options")
        screen().print(table(columns, _variant_rows(card, models_folder(data_dir)), right=("size", "memory")))
    if card.prices:
        rows = [_price_row(price) for price in card.prices]
        price_columns = ("price from", "hours UTC", "input /M", "output /M", "cache read /M", "checked", "source")
        screen().print(table(price_columns, rows, right=price_columns[2:5]))
    if card.unverified:
        note(f"not verified: {', '.join(card.unverified)}")


def _from_api(
    task: Task | None, tier: Tier | None, url: str | None, key: str | None, data_dir: Path | None
) -> Sequence[Mapping[str, Any]] | None:
    """None when no API runs here; one that is named but does not answer is an error."""
    try:
        with connect(url, key, data_dir) as client:
            found: list[Mapping[str, Any]] = client.call("GET", "/models", task=task, tier=tier)["models"]
    except NotRunning:
        if url or load_settings().url:
            raise
        return None
    return found


def _card(model_id: str, url: str | None, key: str | None, data_dir: Path | None) -> tuple[Card, str | None]:
    try:
        with connect(url, key, data_dir) as client:
            told = client.call("GET", f"/models/{model_id}")
        return Card.model_validate(told["card"]), told["missing"]
    except NotRunning:
        if url or load_settings().url:
            raise
    try:
        return load().get(model_id), None
    except UnknownModel as error:
        raise ModelNotFound(str(error)) from error


def _wanted(card: Card, task: Task | None, tier: Tier | None) -> bool:
    return (task is None or task in card.tasks) and (tier is None or card.tier is tier)


def _told(card: Card) -> dict[str, Any]:
    plain = {"id": card.id, "name": card.name, "tasks": card.tasks, "tier": card.tier, "provider": card.provider}
    return {**plain, "available": None, "missing": None}


def _local(registry: Registry, model_id: str, models_dir: Path, memory: Mapping[str, int]) -> Local | None:
    """None for what this machine's registry does not know, and for models that run elsewhere."""
    card = registry.cards.get(model_id)
    return local_facts(card, models_dir, memory) if card else None


def _spread(registry: Registry, model_id: str, facts: Local | None) -> dict[str, Any]:
    card = registry.cards.get(model_id)
    nothing = dict.fromkeys(Local.__dataclass_fields__)
    return {"licence": card.licence if card else None, **(asdict(facts) if facts else nothing)}


def _row(model: Mapping[str, Any], registry: Registry, facts: Local | None) -> tuple[object, ...]:
    now = _yes_no(model["available"])
    card = registry.cards.get(model["id"])
    start = (now, model["id"], model["tier"], ", ".join(model["tasks"]), card.licence if card else None)
    if facts is None:
        return (*start, None, None, None, None, model["missing"] or "")
    memory = f"{'' if facts.memory_measured or facts.memory_bytes is None else '≈ '}{size(facts.memory_bytes)}"
    return (*start, size(facts.size_bytes), memory, _yes_no(facts.fits), _yes_no(facts.here), model["missing"] or "")


def _yes_no(value: bool | None) -> Text:
    return Text("?", style="dim") if value is None else yes_no(value, needed=False)


def _variant_rows(card: Card, models_dir: Path) -> list[tuple[object, ...]]:
    placed = {each.variant.name: each.folder for each in weights.every_placed(card, models_dir) if each.variant}
    rows: list[tuple[object, ...]] = []
    for variant in weights.precise_first(card.variants):
        folder = placed.get(variant.name)
        need = weights.need(card, variant, folder)
        lack = " (not installed)" if engine_lack(card, variant) else ""
        memory = f"{'' if need and need.measured else '≈ '}{size(need.bytes)}" if need else "?"
        options = ", ".join(f"{name}={value}" for name, value in variant.runtime.items())
        here = _yes_no(folder is not None or weights.packaged_folder(card) is not None)
        facts = (
            variant.name,
            variant.format,
            f"{variant.runs_on}{lack}",
            size(weights.file_bytes(card, variant, folder)),
        )
        rows.append((*facts, memory, here, options))
    return rows


def _facts(card: Card, missing: str | None) -> list[tuple[str, object]]:
    return [
        ("tasks", ", ".join(card.tasks)),
        ("tier", card.tier),
        ("provider", f"{card.provider} {card.api_model or ''}"),
        ("now missing", missing),
        ("capabilities", ", ".join(sorted(card.capabilities))),
        ("licence", f"{card.licence or 'not known'} {card.licence_url or ''}"),
        ("gated", f"accept the licence at {weights.licence_page(card)}" if card.gated else None),
        ("weights", card.package or card.hub_id),
        ("memory", megabytes(card.memory_bytes) if card.memory_bytes else None),
        ("context", f"{card.context_tokens} tokens" if card.context_tokens else None),
        ("longest answer", f"{card.max_output_tokens} tokens" if card.max_output_tokens else None),
        ("dimensions", card.dimensions),
        ("languages", ", ".join(card.languages)),
        ("data regions", ", ".join(card.regions or ())),
        ("retires", card.deprecated),
        ("aliases", ", ".join(card.aliases)),
        ("sources", "\n".join(card.sources)),
        ("notes", card.notes),
    ]


def _price_row(price: Price) -> tuple[object, ...]:
    read = price.cache_read_nanousd
    hours = f"{price.hours_utc.start:%H:%M}–{price.hours_utc.end:%H:%M}" if price.hours_utc else "all"
    rates = (money(price.input_nanousd), money(price.output_nanousd), None if read is None else money(read))
    return price.effective or "the beginning", hours, *rates, price.checked, price.source
