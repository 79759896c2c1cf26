"""Judges the cards: what is unverified, stale, retired or differs from genai-prices; it changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from registry.load import Registry
from registry.pricing import UnpricedModel, price_at
from registry.rates import NANOUSD_PER_USD
from registry.schema import Card, LongContext, Price, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, Tier, TieredPrices

STALE_AFTER_DAYS = 90
RETIRES_SOON_DAYS = 30
HALF_HOURS_A_DAY = 48

_SOURCE = re.compile(r"genai-prices [^:]+: (?P<provider>[^/]+)/(?P<model>.+)")
_RATES = {
    "input_nanousd": "input_mtok",
    "output_nanousd": "output_mtok",
    "cache_read_nanousd": "cache_read_mtok",
    "cache_write_nanousd": "cache_write_mtok",
    "cache_write_1h_nanousd": "cache_write_1h_mtok",
}

InstalledPrices = Callable[[str, str, datetime], Price | None]
"""(provider, model, moment) → the price a price library lists, None where it lists none."""


class Level(StrEnum):
    """How much a finding matters; `error` is the only one that should fail a build."""

    UNVERIFIED = "unverified"
    STALE = "stale"
    DRIFT = "drift"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to look after; `field` names what on the card."""

    card_id: str
    field: str
    level: Level
    message: str


def findings(registry: Registry, today: date, installed_prices: InstalledPrices | None = None) -> list[Finding]:
    """Every finding, by card and then in a fixed order.

    `installed_prices` defaults to the installed genai-prices; where that is absent, drift is not judged.
    """
    prices = installed_prices or genai_prices()
    found: list[Finding] = []
    for card in registry.cards.values():
        found += _unverified(card)
        found += _stale(card, today)
        found += _retired(card, today)
        found += _bad_fallback(card, registry)
        found += _unloadable(card)
        found += _drift(card, today, prices) if prices else ()
    return found


def genai_prices() -> InstalledPrices | None:
    """The installed genai-prices as a lookup, None where it is not installed."""
    try:
        installed = version("genai-prices")
        from genai_prices.data import providers  # noqa: PLC0415  (only the check needs its 1.6 MB of prices)
    except (PackageNotFoundError, ImportError):
        return None
    models = {(provider.id, model.id): model for provider in providers for model in provider.models}

    def listed(provider: str, model: str, moment: datetime) -> Price | None:
        info = models.get((provider, model))
        source = f"genai-prices {installed}: {provider}/{model}"
        return None if info is None else _price_of(info.get_prices(moment), source, moment.date())

    return listed


def _price_of(listed: ModelPrice, source: str, day: date) -> Price | None:
    """A genai-prices price in our units; None where it does not price input tokens."""
    base = {name: _per_million(getattr(listed, key, None)) for name, key in _RATES.items()}
    if base["input_nanousd"] is None:
        return None
    long = {name: _per_million(getattr(listed, key, None), highest_tier=True) for name, key in _RATES.items()}
    starts = {tier.start for key in _RATES.values() for tier in _tiers(getattr(listed, key, None))}
    return Price.model_validate(
        {
            **base,
            "output_nanousd": base["output_nanousd"] or 0,
            "effective": None,
            "source": source,
            "checked": day,
            "long_context": LongContext.model_validate(
                {
                    **long,
                    "output_nanousd": long["output_nanousd"] or 0,
                    "above_input_tokens": max(starts),
                }
            )
            if starts
            else None,
        }
    )


def _per_million(listed: Decimal | TieredPrices | None, *, highest_tier: bool = False) -> int | None:
    """Dollars per million tokens, flat or in tiers, as nano-dollars."""
    if listed is None:
        return None
    if isinstance(listed, Decimal):
        return int(listed * NANOUSD_PER_USD)
    usd = listed.tiers[-1].price if highest_tier else listed.base
    return int(usd * NANOUSD_PER_USD)


def _tiers(listed: Decimal | TieredPrices | None) -> list[Tier]:
    return [] if listed is None or isinstance(listed, Decimal) else listed.tiers


def _unverified(card: Card) -> Iterator[Finding]:
    for field in card.unverified:
        yield Finding(
            card_id=card.id,
            field=field,
            level=Level.UNVERIFIED,
            message=f"{field} is not known; add it to the card with its source",
        )


def _stale(card: Card, today: date) -> Iterator[Finding]:
    for number, price in enumerate(card.prices):
        age_days = (today - price.checked).days
        if age_days > STALE_AFTER_DAYS and price.effective == card.prices[-1].effective:
            yield Finding(
                card_id=card.id,
                field=f"prices.{number}.checked",
                level=Level.STALE,
                message=f"price last checked {age_days} days ago, {price.checked}; check {price.source} again",
            )


def _retired(card: Card, today: date) -> Iterator[Finding]:
    if card.deprecated is None or (card.deprecated - today).days > RETIRES_SOON_DAYS:
        return
    gone = card.deprecated <= today
    yield Finding(
        card_id=card.id,
        field="deprecated",
        level=Level.ERROR if gone else Level.STALE,
        message=f"its provider {'retired it' if gone else 'retires it'} on {card.deprecated}; "
        "remove the card or name its successor",
    )


def _bad_fallback(card: Card, registry: Registry) -> Iterator[Finding]:
    """A fallback must do one of the card's tasks and stand below it, so that a chain always ends."""
    below = registry.cards.get(card.fallback) if card.fallback else None
    if below is None:
        return
    if not set(below.tasks) & set(card.tasks) or below.tier.rank >= card.tier.rank:
        yield Finding(
            card_id=card.id,
            field="fallback",
            level=Level.ERROR,
            message=f"fallback {below.id} must share a task and stand on a lower tier than {card.tier}",
        )


def _unloadable(card: Card) -> Iterator[Finding]:
    """A card of our own workers must say what runs its weights, and a gated one where its licence stands."""
    told = []
    if card.hub_id is not None and card.queue is not None and not card.variants:
        told.append(("variants", "its weights have no variant; say format and engine of at least one"))
    told += [
        (f"variants.{variant.name}.engine", f"format {variant.format} has no engine of its own; name one")
        for variant in card.variants
        if card.queue is not None and variant.runs_on is None
    ]
    if card.gated and card.licence_url is None:
        told.append(("licence_url", "it is gated; name the page with the licence that must be accepted"))
    for field, message in told:
        yield Finding(card_id=card.id, field=field, level=Level.ERROR, message=message)


def _drift(card: Card, today: date, listed: InstalledPrices) -> Iterator[Finding]:
    """The first half hour of the day at which the card and the library disagree, once a card."""
    for moment in _half_hours(today):
        try:
            ours = price_at(card, moment)
        except UnpricedModel:
            return
        named = _SOURCE.fullmatch(ours.source)
        if named is None:
            return
        theirs = listed(named["provider"], named["model"], moment)
        if theirs is None:
            yield _drifted(card, f"{named['provider']}/{named['model']} is no longer listed")
            return
        changes = tuple(_differences(ours, theirs))
        if changes:
            yield _drifted(card, f"at {moment:%H:%M} UTC {theirs.source} says {'; '.join(changes)}")
            return


def _drifted(card: Card, what: str) -> Finding:
    return Finding(
        card_id=card.id,
        field="prices",
        level=Level.DRIFT,
        message=f"{what}; add a new dated price, leave the past one as it is",
    )


def _half_hours(day: date) -> Iterator[datetime]:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    yield from (midnight + timedelta(minutes=30 * number) for number in range(HALF_HOURS_A_DAY))


def _differences(ours: Price, theirs: Price) -> Iterator[str]:
    yield from _rate_differences(ours, theirs, "")
    long, listed = ours.long_context, theirs.long_context
    if long is None or listed is None:
        if long is not listed:
            yield f"long context {'none' if listed is None else f'above {listed.above_input_tokens} tokens'}"
        return
    if long.above_input_tokens != listed.above_input_tokens:
        yield f"long context above {listed.above_input_tokens} tokens, card {long.above_input_tokens}"
    yield from _rate_differences(long, listed, "long context ")


def _rate_differences(ours: Rates, theirs: Rates, prefix: str) -> Iterator[str]:
    for name in _RATES:
        if getattr(ours, name) != getattr(theirs, name):
            yield f"{prefix}{name} {getattr(theirs, name)}, card {getattr(ours, name)}"
