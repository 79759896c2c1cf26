"""`pennyroute models doctor`: every card is available, or here is exactly what would make it so; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.models_local import engine_lack, has_hub, likely_variant, models_folder, told
from orchestrator.cli.models_memory import announced, shares
from orchestrator.cli.screen import AsJson, note, screen, show_json, yes_no
from orchestrator.cli.server import DataDir, Key, NotRunning, Url, connect
from orchestrator.settings import Settings, environment_name
from orchestrator.settings import load as load_settings
from registry import weights
from registry.load import Registry, load
from registry.schema import Card, Task, Tier, Variant


class State(StrEnum):
    """The first thing that keeps a model from being called."""

    AVAILABLE = "available"
    TOO_BIG = "too_big"
    NO_ENGINE = "engine_missing"
    GATED = "gated"
    NO_WEIGHTS = "weights_missing"
    NO_KEY = "key_missing"
    NO_WORKER = "no_worker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What stands between a card and its first call, and the steps that remove it, in order."""

    id: str
    tasks: tuple[str, ...]
    tier: str
    state: State
    steps: tuple[str, ...] = field(default_factory=tuple)
    required_bytes: int | None = None
    available_bytes: int | None = None
    smaller: str | None = None


def doctor_command(
    model_ids: Annotated[list[str] | None, typer.Argument(help="Only these models.", metavar="[ID]…")] = None,
    *,
    task: Annotated[Task | None, typer.Option(help="Only models for this task.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="Only models of this tier.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Say of every model: available, or exactly what would make it so.

    Looks at the engine's packages, the weights, licences, the memory of each worker, keys, and with a running API also
    at the workers.

    **Examples**

    ```text
    pennyroute models doctor
    pennyroute models doctor llama-3.2-1b-instruct
    pennyroute models doctor --task embed --json
    ```
    """
    registry = load()
    with told():
        chosen = [registry.get(each) for each in model_ids] if model_ids else list(registry.cards.values())
    cards = [card for card in chosen if (task is None or task in card.tasks) and (tier is None or card.tier is tier)]
    live, budgets = _live(url, key, data_dir)
    settings, folder = load_settings(), models_folder(data_dir)
    found = [judge(card, registry, folder, settings, live, budgets) for card in cards]
    if as_json:
        show_json([{**asdict(each), "available": each.state is State.AVAILABLE} for each in found])
        return
    for each in sorted(found, key=lambda each: (Tier(each.tier).rank, each.id)):
        _show(each)
    available = sum(each.state is State.AVAILABLE for each in found)
    without = "" if live is not None else "; no API runs here, so workers were not looked at"
    note(f"{available} of {len(found)} available{without}")


def judge(
    card: Card,
    registry: Registry,
    models_dir: Path,
    settings: Settings,
    live: Mapping[str, str | None] | None,
    budgets: Mapping[str, int] | None = None,
) -> Verdict:
    """One card's verdict. `live`: what a running API says is missing of each model; None: none runs. `budgets`: the
    bytes that the worker of each queue may keep; where none is known, what `up` would give it here counts."""
    if card.queue is None:
        return _elsewhere(card, settings, live)
    if live is not None and live.get(card.id, "not listed") is None:
        return _verdict(card, State.AVAILABLE, [])  # a worker holds it: its memory is not free any more
    available = (shares() | dict(budgets or {})).get(card.queue)
    here = weights.placed(card, models_dir, available_memory_bytes=available)
    variant = here.variant if here else likely_variant(card, available)
    need = weights.need(card, variant, here.folder if here and card.package is None else None)
    if need and available is not None and need.bytes > available:
        refusal = weights.too_big(card, need.bytes, available, registry)
        return _verdict(card, State.TOO_BIG, [str(refusal)], refusal)
    lack = engine_lack(card, variant)
    absent = weights.missing(card, models_dir)
    steps = [each for each in (lack, _weights_step(card, variant, absent)) if each]
    if lack:
        return _verdict(card, State.NO_ENGINE, steps)
    if absent:
        return _verdict(card, State.GATED if _is_gated(card, variant) else State.NO_WEIGHTS, steps)
    unserved = live.get(card.id) if live is not None else None
    return _verdict(card, State.NO_WORKER, [unserved]) if unserved else _verdict(card, State.AVAILABLE, [])


def _elsewhere(card: Card, settings: Settings, live: Mapping[str, str | None] | None) -> Verdict:
    """A model that a provider or a server of our own runs."""
    name = f"{card.provider}_api_key"
    if live is not None and card.id in live:
        missing = live[card.id]
        return _verdict(card, State.NO_KEY if missing else State.AVAILABLE, [missing] if missing else [])
    if name in Settings.model_fields and getattr(settings, name) is None:
        return _verdict(card, State.NO_KEY, [f"export {environment_name(name)}=…, then start `pennyroute up` again"])
    return _verdict(card, State.AVAILABLE, [])


def _weights_step(card: Card, variant: Variant | None, absent: str | None) -> str | None:
    if absent is None or card.package is not None or not has_hub(card):
        return absent
    smaller = variant is not None and variant != likely_variant(card, None)
    line = f"run `pennyroute models download {card.id}{f' --variant {variant.name}' if smaller and variant else ''}`"
    if _is_gated(card, variant):
        page = weights.licence_page(card)
        return f"accept its licence at {page}, log in with `hf auth login` or set HF_TOKEN, then {line}"
    return line


def _is_gated(card: Card, variant: Variant | None) -> bool:
    return variant is not None and weights.is_gated(card, variant)


def _verdict(card: Card, state: State, steps: list[str], refusal: weights.TooBig | None = None) -> Verdict:
    return Verdict(
        id=card.id,
        tasks=tuple(card.tasks),
        tier=card.tier,
        state=state,
        steps=tuple(steps),
        required_bytes=refusal.required_bytes if refusal else None,
        available_bytes=refusal.available_bytes if refusal else None,
        smaller=refusal.smaller if refusal else None,
    )


def _live(
    url: str | None, key: str | None, data_dir: Path | None
) -> tuple[Mapping[str, str | None] | None, Mapping[str, int]]:
    """What a running API says is missing of each model, and how much memory the worker of each queue may use."""
    try:
        with connect(url, key, data_dir) as client:
            models: list[dict[str, Any]] = client.call("GET", "/models")["models"]
            budgets = announced(client)
    except NotRunning:
        if url or load_settings().url:
            raise
        return None, {}
    return {model["id"]: None if model["available"] else str(model["missing"]) for model in models}, budgets


def _show(verdict: Verdict) -> None:
    well = verdict.state is State.AVAILABLE
    line = Text.assemble(yes_no(well, needed=False), f" {verdict.id:<24} ", (f"{verdict.state:<16}", "dim"))
    line.append("" if well else " ".join(_numbered(verdict.steps)))
    screen().print(line, soft_wrap=True, highlight=False)


def _numbered(steps: tuple[str, ...]) -> Iterator[str]:
    """One step as it is; of several each with its number."""
    for number, step in enumerate(steps, start=1):
        yield f"→ {step}" if len(steps) == 1 else f"{number}. {step}"
