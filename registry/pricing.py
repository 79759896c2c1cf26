"""What a call costs in nano-dollars, exactly; it must not guess a price nor look at a clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from registry.schema import Billing, Card, Price, Rates, Usage

TOKENS_PER_PRICE = 1_000_000
DAYS_KEPT = 8


class UnpricedModel(Exception):
    """No price is known for this model on this day: the call is refused, it is not free."""

    def __init__(self, card_id: str, reason: str) -> None:
        self.card_id = card_id
        self.reason = reason
        super().__init__(f"No price for model {card_id!r}: {reason}")


def price_at(card: Card, at: datetime) -> Price:
    """The price that holds at this aware moment: newest day first, its hours before its whole day.

    Raises UnpricedModel where the card has none (a model on our own machine included), ValueError for a
    naive `at`.
    """
    moment = _utc(at)
    prices = _prices_of_day(card, moment.date())
    for price in prices:
        if price.hours_utc is not None and price.hours_utc.contains(moment.time()):
            return price
    return next(price for price in prices if price.hours_utc is None)


def cost_nanousd(card: Card, usage: Usage, at: datetime) -> int:
    """What this usage costs, in nano-dollars rounded up once over the whole sum.

    0 for a model on our own machine. A cached token whose rate the provider does not list apart costs what
    other input costs. Raises UnpricedModel where no price is known.
    """
    if card.billing is Billing.NONE:
        return 0
    price = price_at(card, at)
    rates = _rates_for(price, usage.total_input_tokens)
    return _rounded_up(
        usage.input_tokens * rates.input_nanousd
        + usage.cache_read_tokens * _cache_read_rate(rates)
        + usage.cache_write_tokens * _cache_write_rate(rates)
        + usage.cache_write_1h_tokens * _cache_write_1h_rate(rates)
        + usage.output_tokens * rates.output_nanousd
    )


def upper_bound_nanousd(
    card: Card, input_tokens: int, output_tokens: int, at: datetime, *, cache_writes: bool = True
) -> int:
    """The most that a call started at `at` can cost with at most these tokens: what a hold must cover.

    Every input token counts at the dearest input rate, over all hours of the day and the next (a call may
    run past the hour), and at the long-context rates if the input could pass their threshold.
    `cache_writes=False` is for a call that asks for no cache write at a provider that writes only when
    asked; it leaves the write rates out.
    Raises UnpricedModel where no price is known.
    """
    bound = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    if card.billing is Billing.NONE:
        return 0
    return max(
        _rounded_up(
            bound.input_tokens * _dearest_input_rate(rates, cache_writes=cache_writes)
            + bound.output_tokens * rates.output_nanousd
        )
        for price in _prices_of_call(card, _utc(at).date())
        for rates in _rates_up_to(price, bound.input_tokens)
    )


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(
            f"a price needs an aware datetime, got {at.isoformat()} without an offset; pass datetime.now(UTC)"
        )
    return at.astimezone(UTC)


def _prices_of_day(card: Card, day: date) -> tuple[Price, ...]:
    """Looked up on every request and the same all day, so each card keeps its last few days."""
    known = card.price_days.get(day)
    if known is None:
        if len(card.price_days) >= DAYS_KEPT:
            card.price_days.clear()
        known = card.price_days[day] = _find_prices_of_day(card, day)
    return known


def _find_prices_of_day(card: Card, day: date) -> tuple[Price, ...]:
    if card.billing is Billing.NONE:
        raise UnpricedModel(card.id, "it runs on our own machine and costs nothing")
    held = [price for price in card.prices if price.effective is None or price.effective <= day]
    if not held:
        known = f"its first price holds from {card.prices[0].effective}" if card.prices else "its card states none"
        raise UnpricedModel(card.id, f"{known}, asked for {day}; add a dated price with its source to the card")
    newest = held[-1].effective
    return tuple(price for price in held if price.effective == newest)


def _prices_of_call(card: Card, day: date) -> Iterator[Price]:
    today = _prices_of_day(card, day)
    yield from today
    tomorrow = _prices_of_day(card, day + timedelta(days=1))
    if tomorrow[0].effective != today[0].effective:
        yield from tomorrow


def _rates_for(price: Price, total_input_tokens: int) -> Rates:
    """The long-context rates hold for every token once the input is longer than the threshold."""
    if price.long_context is not None and total_input_tokens > price.long_context.above_input_tokens:
        return price.long_context
    return price


def _rates_up_to(price: Price, input_tokens: int) -> Iterator[Rates]:
    yield price
    if price.long_context is not None and input_tokens > price.long_context.above_input_tokens:
        yield price.long_context


def _cache_read_rate(rates: Rates) -> int:
    return rates.input_nanousd if rates.cache_read_nanousd is None else rates.cache_read_nanousd


def _cache_write_rate(rates: Rates) -> int:
    return rates.input_nanousd if rates.cache_write_nanousd is None else rates.cache_write_nanousd


def _cache_write_1h_rate(rates: Rates) -> int:
    if rates.cache_write_1h_nanousd is not None:
        return rates.cache_write_1h_nanousd
    return max(rates.input_nanousd, _cache_write_rate(rates))


def _dearest_input_rate(rates: Rates, *, cache_writes: bool) -> int:
    read = max(rates.input_nanousd, _cache_read_rate(rates))
    return max(read, _cache_write_rate(rates), _cache_write_1h_rate(rates)) if cache_writes else read


def _rounded_up(nanousd_times_million: int) -> int:
    return -(-nanousd_times_million // TOKENS_PER_PRICE)
