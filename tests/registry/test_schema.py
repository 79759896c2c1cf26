"""What a card may say, and which contradictions it is refused for."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from registry.schema import Card, Price, Task, Tier, Usage
from tests.registry.cards import a_price, local, paid


def refusal(make: Any, **changes: Any) -> str:
    """The sentence with which these changes are refused."""
    with pytest.raises(ValidationError) as caught:
        make(**changes)
    (problem,) = caught.value.errors()
    return problem["msg"]


def test_tiers_are_ordered_from_builtin_to_premium() -> None:
    assert [tier.rank for tier in (Tier.BUILTIN, Tier.LOCAL, Tier.MID, Tier.PREMIUM)] == [0, 1, 2, 3]


def test_dollars_written_as_text_become_nanodollars_exactly() -> None:
    price = a_price(input_usd="0.135", output_usd="1E+1", cache_read_usd="0.003625")
    assert price.input_nanousd == 135_000_000
    assert price.output_nanousd == 10_000_000_000
    assert price.cache_read_nanousd == 3_625_000


@pytest.mark.parametrize(
    ("usd", "message"),
    [
        ("0.0000000001", "a price is at least 0 and a whole number of nano-dollars, got '0.0000000001' USD"),
        ("-1", "a price is at least 0 and a whole number of nano-dollars, got '-1' USD"),
        ("NaN", "a price is at least 0 and a whole number of nano-dollars, got 'NaN' USD"),
        ("Infinity", "a price is at least 0 and a whole number of nano-dollars, got 'Infinity' USD"),
        ("three", "a price is a decimal string such as \"3.00\", got 'three'"),
        (3.0, 'a price is a decimal string such as "3.00", got 3.0'),
        (3, 'a price is a decimal string such as "3.00", got 3'),
    ],
)
def test_a_price_that_is_not_exact_is_refused(usd: object, message: str) -> None:
    assert refusal(a_price, input_usd=usd) == f"Value error, {message}"


def test_a_paid_model_needs_the_id_that_is_sent_to_its_provider() -> None:
    message = refusal(paid, api_model=None)
    assert message == "Value error, tier premium needs api_model, the id that is sent to the provider"


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (paid, {"tier": "local"}, "billing is tokens, but tier local runs on our own machine"),
        (paid, {"queue": "llm"}, "a paid model has no queue, got 'llm'"),
        (local, {"tier": "mid"}, "tier mid is paid, but billing is none"),
        (local, {"prices": (a_price(),)}, "billing is none, but there are prices"),
        (
            local,
            {"queue": None},
            "a local model needs either queue (our worker) or api_model (a local server), and not both",
        ),
        (
            local,
            {"api_model": "x"},
            "a local model needs either queue (our worker) or api_model (a local server), and not both",
        ),
        (
            local,
            {"queue": "gpu"},
            "queue is one of embeddings, rerank, sentiment, toxicity, classify, ocr, document, vision, audio, "
            "llm, got 'gpu'",
        ),
        (local, {"tasks": ("embed",)}, "an embedding model needs dimensions"),
        (local, {"quality_prior": 0.9}, "quality_prior needs quality_source, where it was read"),
        (local, {"package": "some"}, "package is written as name==version, got 'some'"),
        (local, {"fallback": "local"}, "fallback names the card itself"),
    ],
)
def test_a_contradiction_is_refused(make: Any, changes: dict[str, Any], message: str) -> None:
    assert refusal(make, **changes) == f"Value error, {message}"


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (({"name": "a", "format": "gguf"},) * 2, "variants need different names, got a, a"),
        (({"name": "a", "format": "gguf", "files": ("../a",)},), "variants.a: '../a' leaves its folder"),
        (({"name": "a", "format": "gguf", "files": ("/etc/a",)},), "variants.a: '/etc/a' leaves its folder"),
        (
            ({"name": "a", "format": "gguf", "files": ("a",), "sha256": {"b": "0"}},),
            "variants.a: sha256 names b, which is none of its files",
        ),
    ],
)
def test_variants_that_contradict_each_other_are_refused(variants: Any, message: str) -> None:
    assert message in refusal(local, variants=variants)


def test_all_contradictions_are_told_at_once() -> None:
    message = refusal(local, queue=None, fallback="local")
    assert message == (
        "Value error, a local model needs either queue (our worker) or api_model (a local server), and not both; "
        "fallback names the card itself"
    )


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ((a_price(), a_price()), "effective 2026-01-01 needs exactly one price without hours_utc, found 2"),
        (
            (a_price(effective=None), a_price(effective=None)),
            "effective no date needs exactly one price without hours_utc, found 2",
        ),
        (
            (a_price(hours_utc={"start": "01:00", "end": "04:00"}),),
            "effective 2026-01-01 needs exactly one price without hours_utc, found 0",
        ),
        (
            (a_price(effective="2026-02-01"), a_price()),
            "prices must be sorted by effective, the undated one first",
        ),
        (
            (
                a_price(),
                a_price(hours_utc={"start": "01:00", "end": "04:00"}),
                a_price(hours_utc={"start": "03:00", "end": "05:00"}),
            ),
            "effective 2026-01-01 has hours_utc that overlap",
        ),
    ],
)
def test_prices_that_contradict_each_other_are_refused(prices: tuple[Price, ...], message: str) -> None:
    assert refusal(lambda: paid(*prices)) == f"Value error, {message}"


def test_hours_that_touch_do_not_overlap() -> None:
    card = paid(
        a_price(),
        a_price(hours_utc={"start": "01:00", "end": "04:00"}),
        a_price(hours_utc={"start": "04:00", "end": "05:00"}),
    )
    assert len(card.prices) == 3


def test_an_unknown_field_is_refused() -> None:
    assert refusal(local, colour="red") == "Extra inputs are not permitted"


def test_a_card_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="Instance is frozen"):
        local().name = "other"


def test_a_card_names_the_facts_it_does_not_know() -> None:
    assert paid(a_price()).unverified == (
        "quality_prior",
        "context_tokens",
        "max_output_tokens",
        "regions",
    )
    assert paid().unverified[:2] == ("quality_prior", "prices")
    assert local().unverified == ("quality_prior", "licence", "revision", "memory_bytes", "context_tokens")


def test_a_variant_of_a_hub_model_names_what_is_recorded_at_its_first_download() -> None:
    card = local(variants=({"name": "Q4_K_M", "format": "gguf", "files": ("a.gguf",)},))
    assert card.unverified[-2:] == ("variants.Q4_K_M.bytes", "variants.Q4_K_M.sha256")


def test_a_card_that_knows_all_has_nothing_unverified() -> None:
    card = Card.model_validate(
        {
            "id": "wise",
            "provider": "builtin",
            "name": "Wise",
            "tasks": ("embed",),
            "tier": "builtin",
            "queue": "embeddings",
            "billing": "none",
            "licence": "MIT",
            "dimensions": 384,
            "max_sequence_tokens": 256,
            "pooling": "mean",
            "quality_prior": 0.5,
            "quality_source": "https://example.com",
        }
    )
    assert card.unverified == ()
    assert card.tasks == (Task.EMBED,)


def test_dates_in_a_price_are_days() -> None:
    assert a_price().effective == date(2026, 1, 1)


@pytest.mark.parametrize(
    ("field", "value"), [("input_tokens", -1), ("output_tokens", 1.5), ("cache_read_tokens", True)]
)
def test_usage_counts_whole_tokens(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be a whole number of tokens, at least 0; got {value!r}"):
        Usage(**{field: value})


def test_all_input_is_what_a_long_context_threshold_is_compared_with() -> None:
    usage = Usage(
        input_tokens=1,
        cache_read_tokens=2,
        cache_write_tokens=4,
        cache_write_1h_tokens=8,
        output_tokens=16,
    )
    assert usage.total_input_tokens == 15
