"""Reads the cards into one validated registry with a content hash; never touches the network or a clock."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from registry.schema import Billing, Capability, Card, Task, Tier

PACKAGED_CARDS = Path(__file__).parent / "cards"
SHORT_VERSION_LENGTH = 16

_T = TypeVar("_T")


class BadCard(ValueError):
    """A card file does not say what a card must say; the text names file, card and field."""


class UnknownModel(LookupError):
    """No card has this id, alias or role; `nearest` holds what may have been meant."""

    def __init__(self, model_id: str, nearest: tuple[str, ...]) -> None:
        self.model_id = model_id
        self.nearest = nearest
        hint = f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else "`pennyroute models list` shows all."
        super().__init__(f"No model {model_id!r} in the registry; {hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The models we may call. Made by `load`; a change gives a new registry with a new version."""

    cards: Mapping[str, Card]
    by_alias: Mapping[str, str]
    """Alias → id."""
    by_task: Mapping[Task, tuple[Card, ...]]
    """Task → the cards that do it, lowest tier first, then by id."""
    by_role: Mapping[str, Card]
    """Role → the one card that holds it."""
    version: str
    """SHA-256 in hex over the canonical JSON of all cards."""

    @property
    def short(self) -> str:
        """The first 16 digits of the version, for logs and rows."""
        return self.version[:SHORT_VERSION_LENGTH]

    def get(self, model_id: str) -> Card:
        """The card with this id or alias; raises UnknownModel with the nearest names."""
        card = self.cards.get(self.by_alias.get(model_id, model_id))
        if card is None:
            raise UnknownModel(model_id, self._nearest(model_id))
        return card

    def for_task(self, task: Task) -> tuple[Card, ...]:
        """Every card that does this task, lowest tier first, then by id."""
        return self.by_task.get(task, ())

    def for_role(self, role: str) -> Card:
        """The one card that a policy means by this role; raises UnknownModel where no card holds it."""
        card = self.by_role.get(role)
        if card is None:
            raise UnknownModel(role, tuple(sorted(self.by_role)))
        return card

    def with_cards(self, extra: Iterable[Card]) -> Registry:
        """A new registry that also holds these cards; raises BadCard where an id or alias is taken."""
        return _registry((*self.cards.values(), *extra))

    def _nearest(self, model_id: str) -> tuple[str, ...]:
        return tuple(get_close_matches(model_id, (*self.cards, *self.by_alias), n=3, cutoff=0.6))


def load(folder: Path | None = None, *, licences: Collection[str] | None = None) -> Registry:
    """The cards of a folder (default: the packaged ones), held to their schema and to each other.

    `licences` leaves out every card whose licence is not listed, those with unknown licence too.
    Raises BadCard.
    """
    cards = tuple(_read_folder(PACKAGED_CARDS if folder is None else folder))
    registry = _registry(cards)
    _refuse_dangling_fallbacks(registry)
    if licences is None:
        return registry
    return _registry(card for card in cards if card.licence in licences and card.licence is not None)


def open_server_card(
    provider: str,
    name: str,
    *,
    context_tokens: int | None = None,
    capabilities: Collection[Capability] = (Capability.STREAMING, Capability.SYSTEM),
) -> Card:
    """The card of a model that an OpenAI-compatible server on our own machine lists, as `provider/name`."""
    return Card(
        id=f"{provider}/{name}",
        provider=provider,
        api_model=name,
        name=f"{name} ({provider})",
        tasks=(Task.GENERATE,),
        tier=Tier.LOCAL,
        billing=Billing.NONE,
        capabilities=frozenset(capabilities),
        context_tokens=context_tokens,
    )


def _registry(cards: Iterable[Card]) -> Registry:
    by_id: dict[str, Card] = {}
    by_alias: dict[str, str] = {}
    holders: dict[str, str] = {}
    for card in cards:
        _claim(by_id, card.id, card, "id", card.id)
        for role in card.roles:
            _claim(holders, role, card.id, "role", card.id)
    for card in by_id.values():
        for alias in card.aliases:
            if alias in by_id:
                raise BadCard(f"card {card.id!r}: alias {alias!r} is the id of another card; choose another")
            _claim(by_alias, alias, card.id, "alias", card.id)
    ordered = dict(sorted(by_id.items()))
    return Registry(
        cards=MappingProxyType(ordered),
        by_alias=MappingProxyType(by_alias),
        by_role=MappingProxyType({role: by_id[card_id] for role, card_id in holders.items()}),
        by_task=MappingProxyType({task: _able(ordered.values(), task) for task in Task}),
        version=_version(ordered),
    )


def _able(cards: Iterable[Card], task: Task) -> tuple[Card, ...]:
    return tuple(sorted((card for card in cards if task in card.tasks), key=lambda card: (card.tier.rank, card.id)))


def _claim(taken: dict[str, _T], key: str, value: _T, kind: str, card_id: str) -> None:
    if key in taken:
        raise BadCard(f"card {card_id!r}: {kind} {key!r} is already taken by another card; each must be unique")
    taken[key] = value


def _version(cards: Mapping[str, Card]) -> str:
    content = [_canonical(card) for card in cards.values()]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _canonical(card: Card) -> dict[str, Any]:
    """What a card says, so that a field added to the schema later does not change the version of old cards."""
    dumped = card.model_dump(mode="json", exclude_defaults=True)
    return {**dumped, "capabilities": sorted(card.capabilities)}


def _read_folder(folder: Path) -> Iterator[Card]:
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise BadCard(f"{folder}: no card files (*.toml) there; point to a folder with cards")
    for file in files:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[Card]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadCard(f"{file.name}: not TOML: {error}") from error
    unknown = sorted(set(content) - {"card"})
    if unknown or not isinstance(content.get("card"), list):
        raise BadCard(f"{file.name}: a card file holds [[card]] tables only, found {', '.join(unknown) or 'none'}")
    for number, table in enumerate(content["card"], start=1):
        yield _read_card(file, number, table)


def _read_card(file: Path, number: int, table: dict[str, Any]) -> Card:
    try:
        return Card.model_validate(table)
    except ValidationError as error:
        where = f"{file.name}: card {table.get('id', f'number {number}')!r}"
        raise BadCard("\n".join(f"{where}: {_told(problem)}" for problem in error.errors())) from error


def _told(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "as a whole"
    given = "" if problem["type"] in ("missing", "value_error") else f" (got {problem['input']!r})"
    return f"{field}: {problem['msg'].removeprefix('Value error, ')}{given}"


def _refuse_dangling_fallbacks(registry: Registry) -> None:
    for card in registry.cards.values():
        if card.fallback is not None and card.fallback not in registry.cards:
            raise BadCard(f"card {card.id!r}: fallback {card.fallback!r} is no card; name one that exists")
