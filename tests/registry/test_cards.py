"""The shipped cards: all that were promised are there, and each price is genai-prices'."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider

from registry import cost_nanousd, load
from registry.check import Level, findings
from registry.schema import Billing, Card, Task, Tier, Usage

REGISTRY = load()
CHECKED = date(2026, 11, 20)
PAID = [card for card in REGISTRY.cards.values() if card.billing is Billing.TOKENS]

USAGES = [
    Usage(input_tokens=1_000, output_tokens=1_000),
    Usage(input_tokens=7, cache_read_tokens=90_001, output_tokens=33),
    Usage(input_tokens=300_000, output_tokens=4_000),
    Usage(input_tokens=11, cache_write_tokens=300_000, output_tokens=1),
]


def listed(card: Card) -> tuple[Provider, ModelInfo]:
    """What genai-prices lists for the id that we send."""
    provider = next(provider for provider in providers if provider.id == card.provider)
    return provider, next(model for model in provider.models if model.id == card.api_model)


def their_cost_nanousd(card: Card, usage: Usage, at: datetime) -> int:
    """The cost as genai-prices works it out, rounded up to a nano-dollar."""
    provider, model = listed(card)
    theirs = TheirUsage(
        input_tokens=usage.total_input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    usd = model.calc_price(theirs, provider, genai_request_timestamp=at).total_price
    return int((usd * 1_000_000_000).to_integral_value(rounding="ROUND_CEILING"))


def moments() -> Iterator[datetime]:
    """Every hour of the day on which the prices were checked."""
    first = datetime.fromisoformat("2026-11-20T00:15:00+00:00")
    yield from (first + timedelta(hours=hour) for hour in range(24))


@pytest.mark.parametrize("card", PAID, ids=lambda card: card.id)
def test_every_paid_model_costs_what_genai_prices_says_at_every_hour(card: Card) -> None:
    for at in moments():
        for usage in USAGES:
            assert cost_nanousd(card, usage, at) == their_cost_nanousd(card, usage, at), (at, usage)


def test_the_context_of_every_paid_model_is_genai_prices() -> None:
    assert {card.id: card.context_tokens for card in PAID} == {card.id: listed(card)[1].context_window for card in PAID}


def test_the_fourteen_core_models_are_there() -> None:
    assert [card.id for card in REGISTRY.cards.values() if card.core] == [
        "all-minilm-l6-v2",
        "bge-small-en-v1.5",
        "claude-sonnet",
        "deepseek-chat",
        "distilbert-sst2",
        "donut",
        "faster-whisper-base",
        "gpt-4o",
        "llama-3.2-1b-instruct",
        "mdeberta-mnli-xnli",
        "ms-marco-minilm-l12-v2",
        "openclip-vit-b-32",
        "paddleocr",
        "roberta-toxicity",
    ]


def test_every_model_beside_the_core_is_there() -> None:
    beside = {
        "gte-multilingual-base",
        "multilingual-e5-small",
        "bge-m3",
        "qwen2.5-1.5b-instruct",
        "qwen2.5-3b-instruct",
        "qwen2.5-7b-instruct",
        "llama-3.2-3b-instruct",
        "phi-3.5-mini-instruct",
        "gemma-2-2b-it",
        "tinyllama-1.1b-chat",
        "lamini-flan-t5-783m",
        "phi-2",
    }
    assert beside <= set(REGISTRY.cards)


def test_what_comes_with_a_package_needs_no_key() -> None:
    builtin = {card.id: card.tasks for card in REGISTRY.cards.values() if card.tier is Tier.BUILTIN}
    assert builtin == {
        "minilm-l6-builtin": (Task.EMBED, Task.RERANK, Task.CLASSIFY),
        "ppocr-rapidocr": (Task.OCR,),
        "toxicity-wordlist": (Task.TOXICITY,),
        "vader": (Task.SENTIMENT,),
    }


def test_each_role_of_a_routing_policy_has_its_model() -> None:
    roles = {role: REGISTRY.for_role(role).id for role in ("mid", "premium", "creative", "small_llm")}
    assert roles == {
        "mid": "deepseek-chat",
        "premium": "claude-sonnet",
        "creative": "gpt-4o",
        "small_llm": "llama-3.2-1b-instruct",
    }


def test_every_task_has_a_model() -> None:
    assert [task for task in Task if not REGISTRY.for_task(task)] == []


def test_no_quality_is_claimed_where_none_was_measured() -> None:
    assert REGISTRY.get("toxicity-wordlist").quality_prior is None
    claimed = [card.id for card in REGISTRY.cards.values() if card.quality_prior is not None]
    assert claimed == ["distilbert-sst2", "ppocr-rapidocr", "roberta-toxicity"]


def test_every_card_but_our_own_and_the_local_backend_says_where_it_was_read() -> None:
    without = [card.id for card in REGISTRY.cards.values() if not card.sources]
    assert without == ["paddleocr", "toxicity-wordlist"]


def test_on_the_day_they_were_checked_the_cards_are_neither_wrong_nor_stale_nor_drifted() -> None:
    found = findings(REGISTRY, CHECKED)
    kept = [(finding.card_id, finding.level) for finding in found if finding.level is not Level.UNVERIFIED]
    assert kept == [
        ("claude-sonnet-4-5", Level.STALE),
        ("gpt-5", Level.STALE),
        ("gpt-5-mini", Level.STALE),
        ("gpt-5-nano", Level.STALE),
    ]


def test_half_the_price_by_batch_is_recorded_where_the_source_says_so() -> None:
    assert REGISTRY.get("claude-sonnet").prices[0].batch_discount == Decimal("0.5")
    assert REGISTRY.get("gpt-4o").prices[0].batch_discount is None


def test_deepseek_costs_twice_as_much_at_its_peak_hours() -> None:
    card = REGISTRY.get("deepseek-chat")
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    at = datetime.fromisoformat("2026-11-20T00:59:59+00:00")
    assert cost_nanousd(card, usage, at) == 750_000_000
    assert cost_nanousd(card, usage, at + timedelta(seconds=1)) == 1_500_000_000
