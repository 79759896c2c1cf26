"""The judge of the cards: unverified, stale, retired, drifted, and what it stays silent about."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from registry.check import Finding, Level, findings, genai_prices
from registry.load import Registry, load
from registry.schema import Card, Price
from tests.registry.cards import a_price, local, paid

TODAY = date(2026, 11, 20)
SOURCE = "genai-prices 0.2.3: anthropic/paid-1"
WHOLE = {"name": "Q4_K_M", "format": "gguf", "files": ("a.gguf",), "bytes": 1, "sha256": {"a.gguf": "0" * 64}}


def nothing_listed(provider: str, model: str, at: datetime) -> Price | None:
    """A price library that lists no model."""
    return None


def registry_of(*cards: Card) -> Registry:
    """A registry of these cards alone."""
    return Registry(cards={card.id: card for card in cards}, by_alias={}, by_task={}, by_role={}, version="0" * 64)


def judged(*cards: Card, today: date = TODAY, listed: Any = nothing_listed) -> list[Finding]:
    """Findings save those about unverified facts."""
    found = findings(registry_of(*cards), today, listed)
    return [finding for finding in found if finding.level is not Level.UNVERIFIED]


def test_an_unknown_fact_is_unverified() -> None:
    found = findings(registry_of(local(variants=(WHOLE,))), TODAY, nothing_listed)
    assert [(finding.field, finding.level) for finding in found] == [
        ("quality_prior", Level.UNVERIFIED),
        ("licence", Level.UNVERIFIED),
        ("revision", Level.UNVERIFIED),
        ("memory_bytes", Level.UNVERIFIED),
        ("context_tokens", Level.UNVERIFIED),
    ]
    assert found[1].message == "licence is not known; add it to the card with its source"


def test_a_price_is_stale_after_ninety_days_and_not_on_the_ninetieth() -> None:
    card = paid(a_price(checked="2026-08-22"))
    assert judged(card, today=date(2026, 11, 20)) == []
    (found,) = judged(card, today=date(2026, 11, 21))
    assert (found.level, found.field) == (Level.STALE, "prices.0.checked")
    assert found.message == ("price last checked 91 days ago, 2026-08-22; check https://example.com/prices again")


def test_a_past_price_does_not_go_stale() -> None:
    card = paid(a_price(checked="2025-01-01"), a_price(effective="2026-06-01"))
    assert judged(card) == []


def test_a_model_that_retires_within_a_month_is_told_and_one_that_is_gone_is_an_error() -> None:
    card = paid(a_price(), deprecated="2026-12-20")
    assert judged(card, today=date(2026, 11, 19)) == []
    (soon,) = judged(card, today=date(2026, 11, 20))
    assert (soon.level, soon.message) == (
        Level.STALE,
        "its provider retires it on 2026-12-20; remove the card or name its successor",
    )
    (gone,) = judged(card, today=date(2026, 12, 20))
    assert (gone.level, gone.message) == (
        Level.ERROR,
        "its provider retired it on 2026-12-20; remove the card or name its successor",
    )


def test_a_fallback_on_the_same_tier_is_an_error() -> None:
    (found,) = judged(local(fallback="other", variants=(WHOLE,)), local(id="other", variants=(WHOLE,)))
    assert (found.level, found.message) == (
        Level.ERROR,
        "fallback other must share a task and stand on a lower tier than local",
    )


def test_a_fallback_that_does_another_task_is_an_error() -> None:
    other = local(id="other", tier="builtin", tasks=("sentiment",), queue="sentiment", variants=(WHOLE,))
    (found,) = judged(local(fallback="other", variants=(WHOLE,)), other)
    assert found.field == "fallback"


def test_a_card_of_the_hub_without_a_variant_is_an_error() -> None:
    (found,) = judged(local())
    assert (found.level, found.field) == (Level.ERROR, "variants")
    assert found.message == "its weights have no variant; say format and engine of at least one"


def test_a_gated_card_without_its_licence_page_is_an_error() -> None:
    (found,) = judged(local(variants=(WHOLE,), gated=True))
    assert (found.level, found.field) == (Level.ERROR, "licence_url")


def test_a_variant_that_nothing_runs_is_an_error() -> None:
    (found,) = judged(local(variants=({**WHOLE, "format": "api"},)))
    assert (found.field, found.message) == (
        "variants.Q4_K_M.engine",
        "format api has no engine of its own; name one",
    )


def test_a_price_that_differs_from_the_library_is_drift() -> None:
    def listed(provider: str, model: str, at: datetime) -> Price | None:
        assert (provider, model) == ("anthropic", "paid-1")
        return a_price(source="genai-prices 9.9: anthropic/paid-1", input_usd="4.00")

    (found,) = judged(paid(a_price(source=SOURCE)), listed=listed)
    assert (found.level, found.field) == (Level.DRIFT, "prices")
    assert found.message == (
        "at 00:00 UTC genai-prices 9.9: anthropic/paid-1 says input_nanousd 4000000000, card 3000000000; "
        "add a new dated price, leave the past one as it is"
    )


def test_a_price_that_differs_at_one_hour_only_is_drift_too() -> None:
    def listed(provider: str, model: str, at: datetime) -> Price | None:
        return a_price(output_usd="30.00") if at.hour == 13 else a_price()

    (found,) = judged(paid(a_price(source=SOURCE)), listed=listed)
    assert found.message.startswith("at 13:00 UTC https://example.com/prices says output_nanousd 30000000000")


def test_another_long_context_is_drift() -> None:
    (found,) = judged(paid(a_price(source=SOURCE)), listed=lambda *_: a_price(long_context=None))
    assert "long context none" in found.message


def test_a_model_the_library_no_longer_lists_is_drift() -> None:
    (found,) = judged(paid(a_price(source=SOURCE)))
    assert found.message == ("anthropic/paid-1 is no longer listed; add a new dated price, leave the past one as it is")


def test_a_price_from_another_source_is_not_compared() -> None:
    assert judged(paid(a_price(source="https://example.com/prices"))) == []


def test_the_installed_library_is_read_by_day_and_by_hour() -> None:
    listed = genai_prices()
    assert listed is not None
    before = listed("anthropic", "claude-opus-4-6", datetime.fromisoformat("2026-03-12T12:00:00+00:00"))
    after = listed("anthropic", "claude-opus-4-6", datetime.fromisoformat("2026-03-13T12:00:00+00:00"))
    assert before is not None
    assert after is not None
    assert before.long_context is not None
    assert before.long_context.input_nanousd == 10_000_000_000
    assert before.long_context.above_input_tokens == 200_000
    assert after.long_context is None
    assert listed("anthropic", "no-such-model", datetime.fromisoformat("2026-03-13T12:00:00+00:00")) is None


def test_a_changed_price_of_a_shipped_card_is_found_by_the_installed_library() -> None:
    shipped = load().get("claude-sonnet")
    price = shipped.prices[0].model_copy(update={"cache_read_nanousd": 200_000_000})
    (found,) = judged(shipped.model_copy(update={"prices": (price,)}), listed=genai_prices())
    assert "cache_read_nanousd 100000000, card 200000000" in found.message
