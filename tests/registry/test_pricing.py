"""What a call costs: cases worked out by hand, and properties that hold for every price."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.pricing import UnpricedModel, cost_nanousd, price_at, upper_bound_nanousd
from registry.schema import Card, Price, Usage
from tests.registry.cards import a_price, local, paid

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SONNET = paid(a_price())


def test_a_thousand_tokens_in_and_five_hundred_out_cost_what_the_price_page_says() -> None:
    # 1,000 × $3 / 1M + 500 × $15 / 1M = $0.003 + $0.0075
    assert cost_nanousd(SONNET, Usage(input_tokens=1_000, output_tokens=500), NOON) == 10_500_000


def test_each_kind_of_cached_token_has_its_own_rate() -> None:
    usage = Usage(
        input_tokens=100,
        cache_read_tokens=1_000,
        cache_write_tokens=200,
        cache_write_1h_tokens=50,
        output_tokens=10,
    )
    # 100×3 + 1,000×0.30 + 200×3.75 + 50×6 + 10×15 = 300 + 300 + 750 + 300 + 150 = 1,800 millionths of a dollar
    assert cost_nanousd(SONNET, usage, NOON) == 1_800_000


def test_reasoning_tokens_are_a_part_of_output_and_are_not_paid_twice() -> None:
    usage = Usage(output_tokens=500, reasoning_tokens=400)
    assert cost_nanousd(SONNET, usage, NOON) == 7_500_000


def test_the_sum_is_rounded_up_once_and_not_each_part() -> None:
    # 0.3 + 0.3 + 0.3 nano-dollars: rounded once this is 1, each part alone would make 3
    tiny = paid(a_price(input_usd="0.0003", output_usd="0.0003", cache_read_usd="0.0003", long_context=None))
    usage = Usage(input_tokens=1, cache_read_tokens=1, output_tokens=1)
    assert cost_nanousd(tiny, usage, NOON) == 1


def test_whole_nanodollars_are_not_rounded_further_up() -> None:
    assert cost_nanousd(SONNET, Usage(input_tokens=1), NOON) == 3_000


def test_no_tokens_cost_nothing() -> None:
    assert cost_nanousd(SONNET, Usage(), NOON) == 0


def test_input_at_the_threshold_pays_the_short_rates() -> None:
    assert cost_nanousd(SONNET, Usage(input_tokens=200_000), NOON) == 600_000_000


def test_one_token_over_the_threshold_moves_every_token_to_the_long_rates() -> None:
    # 200,001 × $6 / 1M + 10 × $22.50 / 1M
    usage = Usage(input_tokens=200_001, output_tokens=10)
    assert cost_nanousd(SONNET, usage, NOON) == 1_200_231_000


def test_cached_tokens_count_towards_the_threshold() -> None:
    # 1 × $6 + 200,000 × $0.60, by the million
    usage = Usage(input_tokens=1, cache_read_tokens=200_000)
    assert cost_nanousd(SONNET, usage, NOON) == 120_006_000


def test_a_cached_token_without_a_rate_of_its_own_costs_what_input_costs() -> None:
    plain = paid(a_price(cache_read_usd="3.00", cache_write_usd="3.00", cache_write_1h_usd="3.00", long_context=None))
    bare = paid(
        Price.model_validate(
            {
                "source": "https://example.com",
                "checked": "2026-11-20",
                "input_usd": "3.00",
                "output_usd": "15.00",
            }
        )
    )
    usage = Usage(cache_read_tokens=7, cache_write_tokens=11, cache_write_1h_tokens=13, output_tokens=1)
    assert cost_nanousd(bare, usage, NOON) == 108_000
    assert cost_nanousd(plain, usage, NOON) == 108_000


def test_a_model_on_our_own_machine_costs_nothing_and_has_no_price() -> None:
    assert cost_nanousd(local(), Usage(input_tokens=1_000, output_tokens=1_000), NOON) == 0
    assert upper_bound_nanousd(local(), 1_000, 1_000, NOON) == 0
    with pytest.raises(UnpricedModel, match="it runs on our own machine and costs nothing"):
        price_at(local(), NOON)


def test_an_unknown_price_is_a_refusal_and_not_zero() -> None:
    unpriced = paid()
    for refused in (
        lambda: cost_nanousd(unpriced, Usage(), NOON),
        lambda: upper_bound_nanousd(unpriced, 1, 1, NOON),
        lambda: price_at(unpriced, NOON),
    ):
        with pytest.raises(UnpricedModel) as caught:
            refused()
        assert str(caught.value) == (
            "No price for model 'paid': its card states none, asked for 2026-11-20; "
            "add a dated price with its source to the card"
        )


def test_a_day_before_the_first_price_is_a_refusal() -> None:
    with pytest.raises(UnpricedModel, match="its first price holds from 2026-01-01, asked for 2025-12-31"):
        price_at(SONNET, datetime(2025, 12, 31, 23, 59, tzinfo=UTC))


def test_a_new_price_holds_from_midnight_utc_of_its_day() -> None:
    card = paid(a_price(), a_price(effective="2026-12-01", input_usd="2.00"))
    last_second = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    assert price_at(card, last_second).input_nanousd == 3_000_000_000
    assert price_at(card, last_second + timedelta(seconds=1)).input_nanousd == 2_000_000_000


def test_the_day_of_a_price_is_told_in_utc_and_not_in_the_callers_zone() -> None:
    card = paid(a_price(), a_price(effective="2026-12-01", input_usd="2.00"))
    evening_in_new_york = datetime(2026, 11, 30, 20, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert price_at(card, evening_in_new_york).input_nanousd == 2_000_000_000


def test_an_undated_price_holds_until_a_dated_one_follows() -> None:
    card = paid(a_price(effective=None), a_price(effective="2026-03-13", input_usd="2.00"))
    assert price_at(card, datetime(2020, 1, 1, tzinfo=UTC)).input_nanousd == 3_000_000_000
    assert price_at(card, datetime(2026, 3, 13, tzinfo=UTC)).input_nanousd == 2_000_000_000


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an aware datetime, got 2026-11-20T12:00:00 without an offset"):
        price_at(SONNET, datetime(2026, 11, 20, 12, 0))


def peaked() -> Card:
    """$3 in and $15 out, twice that from 22:00 to 02:00 UTC."""
    peak = {"hours_utc": {"start": "22:00:00", "end": "02:00:00"}, "input_usd": "6.00", "output_usd": "30.00"}
    return paid(a_price(long_context=None), a_price(long_context=None, **peak))


@pytest.mark.parametrize(
    ("hour", "minute", "input_nanousd"),
    [
        (21, 59, 3_000_000_000),
        (22, 0, 6_000_000_000),
        (1, 59, 6_000_000_000),
        (2, 0, 3_000_000_000),
    ],
)
def test_hours_hold_from_their_start_up_to_their_end_over_midnight(hour: int, minute: int, input_nanousd: int) -> None:
    assert price_at(peaked(), NOON.replace(hour=hour, minute=minute)).input_nanousd == input_nanousd


def test_a_hold_covers_the_dearest_hours_of_the_day_since_a_call_may_run_into_them() -> None:
    # every input token at the 1 h write rate of $6 (the peak input is $6 too), output at the peak $30
    assert upper_bound_nanousd(peaked(), 1_000, 100, NOON) == 9_000_000


def test_a_hold_covers_tomorrows_price_since_a_call_may_pass_midnight() -> None:
    card = paid(a_price(), a_price(effective="2026-11-21", output_usd="20.00"))
    assert upper_bound_nanousd(card, 0, 100, NOON) == 2_000_000
    assert upper_bound_nanousd(card, 0, 100, NOON - timedelta(days=1)) == 1_500_000


def test_a_hold_without_cache_writes_counts_input_at_the_plain_rate() -> None:
    assert upper_bound_nanousd(SONNET, 1_000, 500, NOON, cache_writes=False) == 10_500_000
    assert upper_bound_nanousd(SONNET, 1_000, 500, NOON) == 13_500_000


def test_a_hold_for_input_over_the_threshold_covers_the_long_rates() -> None:
    # 200,001 × $12 + 10 × $22.50, by the million
    assert upper_bound_nanousd(SONNET, 200_001, 10, NOON) == 2_400_237_000


def test_a_negative_number_of_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="output_tokens must be a whole number of tokens, at least 0; got -1"):
        upper_bound_nanousd(SONNET, 0, -1, NOON)


tokens = st.integers(min_value=0, max_value=500_000)
usages = st.builds(
    Usage,
    input_tokens=tokens,
    cache_read_tokens=tokens,
    cache_write_tokens=tokens,
    cache_write_1h_tokens=tokens,
    output_tokens=tokens,
)
rates = st.integers(min_value=0, max_value=100_000_000_000)
some_rate = st.none() | rates
rate_fields = {
    "input_nanousd": rates,
    "output_nanousd": rates,
    "cache_read_nanousd": some_rate,
    "cache_write_nanousd": some_rate,
    "cache_write_1h_nanousd": some_rate,
}
long_contexts = st.fixed_dictionaries(
    {**rate_fields, "above_input_tokens": st.integers(min_value=1, max_value=600_000)}
)
prices = st.fixed_dictionaries(
    {
        **rate_fields,
        "source": st.just("https://example.com"),
        "checked": st.just(date(2026, 11, 20)),
        "long_context": st.none() | long_contexts,
    }
).map(Price.model_validate)


@given(prices, usages)
def test_a_hold_is_never_less_than_what_the_call_then_costs(price: Price, usage: Usage) -> None:
    card = paid(price)
    hold = upper_bound_nanousd(card, usage.total_input_tokens, usage.output_tokens, NOON)
    assert cost_nanousd(card, usage, NOON) <= hold


@given(prices, tokens, tokens, tokens)
def test_a_hold_without_cache_writes_covers_calls_that_write_nothing(
    price: Price, read: int, plain: int, output: int
) -> None:
    card = paid(price)
    usage = Usage(input_tokens=plain, cache_read_tokens=read, output_tokens=output)
    hold = upper_bound_nanousd(card, plain + read, output, NOON, cache_writes=False)
    assert cost_nanousd(card, usage, NOON) <= hold


@given(prices, usages, tokens)
def test_more_output_never_costs_less(price: Price, usage: Usage, more: int) -> None:
    card = paid(price)
    longer = Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens + more,
    )
    assert cost_nanousd(card, longer, NOON) >= cost_nanousd(card, usage, NOON)


@given(prices, tokens, tokens)
def test_splitting_output_in_two_calls_costs_at_most_one_nanodollar_more(price: Price, one: int, other: int) -> None:
    card = paid(price)
    apart = sum(cost_nanousd(card, Usage(output_tokens=part), NOON) for part in (one, other))
    together = cost_nanousd(card, Usage(output_tokens=one + other), NOON)
    assert together <= apart <= together + 1
