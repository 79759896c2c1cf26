"""What this machine can say of a card by itself: are its weights here, how large, would it fit; asks no server.

Also the options and the answer that the commands about weights share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.screen import note, screen, show_json, yes_no
from orchestrator.core.errors import ModelNotFound, PennyrouteError
from orchestrator.settings import load as load_settings
from registry import weights
from registry.engines import lacking
from registry.load import Registry, UnknownModel
from registry.schema import Card, Variant

GB = 10**9

VariantName = Annotated[
    str | None, typer.Option("--variant", help="Which variant: Q4_K_M, fp32, … (see `models info`).")
]
AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Also take weights that can run code when read: trust their author first."),
]


class WeightsTrouble(PennyrouteError):
    """An error of registry.weights, told under its own code."""

    def __init__(self, error: weights.WeightsError) -> None:
        super().__init__(str(error))
        self.code = error.code  # type: ignore[misc]  # each kind of trouble has its own


@contextmanager
def told() -> Iterator[None]:
    """Turns trouble with weights, and a mistyped model, into the command's one-line errors."""
    try:
        yield
    except weights.WeightsError as error:
        raise WeightsTrouble(error) from error
    except UnknownModel as error:
        raise ModelNotFound(str(error)) from error


def models_folder(data_dir: Path | None) -> Path:
    """Where weights lie: `models` in the data folder."""
    return (data_dir or load_settings().data_dir).expanduser().absolute() / "models"


@dataclass(frozen=True, kw_only=True, slots=True)
class Local:
    """The facts of one card on this machine. None: not known, or not a matter of this machine (a paid model)."""

    here: bool | None
    variant: str | None
    """The one that is here, or else the one that would be downloaded."""
    size_bytes: int | None
    memory_bytes: int | None
    memory_measured: bool
    fits: bool | None


def local_facts(card: Card, models_dir: Path, memory: Mapping[str, int]) -> Local | None:
    """None for a model that runs elsewhere. `memory`: bytes that the worker of each queue may keep."""
    if card.queue is None:
        return None
    available = memory.get(card.queue)
    found = weights.placed(card, models_dir, available_memory_bytes=available)
    variant = found.variant if found else likely_variant(card, available)
    folder = found.folder if found and card.package is None else None
    need = weights.need(card, variant, folder)
    return Local(
        here=found is not None or weights.needs_no_weights(card),
        variant=variant.name if variant else None,
        size_bytes=weights.file_bytes(card, variant, folder),
        memory_bytes=need.bytes if need else None,
        memory_measured=bool(need and need.measured),
        fits=need.bytes <= available if need and available is not None else None,
    )


def likely_variant(card: Card, available: int | None) -> Variant | None:
    """The variant a download would take for so many bytes of memory (None: any); the smallest where none fits."""
    ordered = weights.precise_first(card.variants)
    if not ordered:
        return None
    try:
        return weights.choose_variant(card, available) if available is not None else ordered[0]
    except weights.TooBig:
        return ordered[-1]


def named_variant(card: Card, name: str | None) -> Variant | None:
    """Raises ModelNotFound with the names there are."""
    if name is None:
        return None
    found = next((each for each in card.variants if each.name.lower() == name.lower()), None)
    if found is None:
        known = ", ".join(each.name for each in card.variants) or "none"
        raise ModelNotFound(f"{card.id} has no variant {name!r}; it has {known}")
    return found


def downloadable(registry: Registry) -> list[Card]:
    """Cards whose weights the hub has, by id."""
    return [card for card in registry.cards.values() if card.queue and card.package is None and has_hub(card)]


def has_hub(card: Card) -> bool:
    return any(variant.hub_id or card.hub_id for variant in card.variants)


def engine_lack(card: Card, variant: Variant | None) -> str | None:
    """The sentence with the pip line, where what runs this variant is not installed."""
    engine = variant.runs_on if variant else None
    return lacking(engine) if engine else None


def size(value: int | None) -> str:
    """Bytes as people say them: 91 MB, 2.0 GB."""
    if value is None:
        return "?"
    return (
        f"{value / GB:.1f} GB" if value >= GB else f"{value / 1e6:.1f} MB" if value < 1e7 else f"{value / 1e6:.0f} MB"
    )


def placed_facts(card: Card, here: weights.Placed) -> dict[str, Any]:
    """What a command tells of weights that lie here now."""
    record = None if card.package else weights.manifest_of(here.folder)
    return {
        "id": card.id,
        "variant": here.variant.name if here.variant else None,
        "folder": str(here.folder),
        "bytes": record.bytes if record else placed_bytes(here),
        "revision": record.revision if record else None,
    }


def placed_bytes(here: weights.Placed) -> int:
    """All files of the folder."""
    return sum(path.stat().st_size for path in here.folder.rglob("*") if path.is_file())


def tell_placed(card: Card, here: weights.Placed, *, as_json: bool) -> None:
    """One line, or JSON: where the weights lie now, and under which licence."""
    facts = placed_facts(card, here)
    if as_json:
        show_json(facts)
        return
    at = f" at revision {facts['revision'][:12]}" if facts["revision"] else ""
    screen().print(
        yes_no(True),
        f"{card.id} {facts['variant'] or ''} ({size(facts['bytes'])}) is in {facts['folder']}{at}",
        soft_wrap=True,
        highlight=False,
    )
    if card.licence:
        note(f"licence: {card.licence}{f' ({card.licence_url})' if card.licence_url else ''}")
