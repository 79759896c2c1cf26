"""Money rules: holds are upper bounds for every paid card at its real prices; unknown prices are refusals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.budget import BudgetState, affordable_output_tokens, hold_nanousd, input_bound_tokens
from orchestrator.core.types import Call, Media, Message, Options, ToolCall
from registry.pricing import UnpricedModel, cost_nanousd
from registry.schema import Billing, Card, Task, Usage
from tests.flow.house import registry
from tests.samples import new_id

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
PAID = tuple(card for card in registry().cards.values() if card.billing is Billing.TOKENS)
MOMENTS = st.datetimes(datetime(2026, 11, 20), datetime(2027, 6, 1), timezones=st.just(UTC))


def call(text: str = "Hi!", *, max_tokens: int | None = 100, model_id: str = "claude-sonnet", **changes: Any) -> Call:
    values: dict[str, Any] = {"messages": (Message(role="user", content=text),), **changes}
    return Call(
        attempt_id=new_id(),
        model_id=model_id,
        api_model=model_id,
        task=Task.GENERATE,
        max_tokens=max_tokens,
        **values,
    )


def test_there_are_paid_cards_to_hold_this_to() -> None:
    assert len(PAID) > 25


@given(
    card=st.sampled_from(PAID),
    text=st.text(max_size=50) | st.just("long " * 100_000),
    max_tokens=st.integers(1, 200_000),
    at=MOMENTS,
    shares=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_hold_covers_every_usage_within_its_bounds(
    card: Card, text: str, max_tokens: int, at: datetime, shares: tuple[float, float, float, float]
) -> None:
    asked = call(text, max_tokens=max_tokens, model_id=card.id)
    bound = input_bound_tokens(asked)
    read, write, write_1h, out = shares
    # Anthropic writes its cache only when asked, and nobody asks; the others may write and charge unasked.
    writes = 0 if card.provider == "anthropic" else 1
    cached = int(bound * read)
    written = int((bound - cached) * write) * writes
    hourly = int((bound - cached - written) * write_1h) * writes
    usage = Usage(
        input_tokens=bound - cached - written - hourly,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=hourly,
        output_tokens=int(max_tokens * out),
    )
    assert hold_nanousd(card, asked, at) >= cost_nanousd(card, usage, at)


WRITES_UNASKED = [card for card in PAID if card.provider != "anthropic"]


@pytest.mark.parametrize("card", WRITES_UNASKED, ids=[card.id for card in WRITES_UNASKED])
def test_a_hold_covers_cache_writes_that_nobody_asked_for(card: Card) -> None:
    asked = call("x" * 2_000, max_tokens=10, model_id=card.id)
    usage = Usage(cache_write_tokens=input_bound_tokens(asked), output_tokens=10)
    assert hold_nanousd(card, asked, AT) >= cost_nanousd(card, usage, AT)


@given(text=st.text(max_size=300), images=st.integers(0, 3))
def test_input_tokens_are_bounded_by_bytes(text: str, images: int) -> None:
    picture = Media(content_type="image/png", data=b"x")
    asked = call(messages=(Message(role="user", content=text, images=(picture,) * images),))
    assert input_bound_tokens(asked) == len(text.encode("utf-8", "surrogatepass")) + 16 + images * 4_800


def test_everything_that_is_sent_counts_towards_the_bound() -> None:
    bare = input_bound_tokens(call("x" * 10))
    assert bare == 26
    tool = {"name": "f", "description": "d" * 100, "parameters": {}}
    assert input_bound_tokens(call("x" * 10, options=Options(tools=(tool,)))) >= bare + 1_024 + 100
    assert input_bound_tokens(call("x" * 10, options=Options(schema={"title": "t" * 100}))) >= bare + 1_024 + 100
    called = Message(role="assistant", content="", tool_calls=(ToolCall(id="i" * 9, name="f", arguments="a" * 50),))
    told = Message(role="tool", content="r" * 20, tool_call_id="i" * 9)
    assert input_bound_tokens(call(messages=(called, told))) == (9 + 1 + 50 + 16 + 16) + (20 + 9 + 16)


def test_an_image_costs_gpt_4o_mini_ten_times_as_many_tokens() -> None:
    shown = (Message(role="user", content="", images=(Media(content_type="image/png", data=b"x"),)),)
    assert input_bound_tokens(call(messages=shown, model_id="gpt-4o")) == 4_816
    assert input_bound_tokens(call(messages=shown, model_id="gpt-4o-mini")) == 48_216


def test_a_hold_written_out() -> None:
    # 3 bytes + 16 a message at $2, 100 tokens at $10 a million
    assert hold_nanousd(registry().get("claude-sonnet"), call("Hi!"), AT) == 19 * 2_000 + 100 * 10_000


def test_our_own_machines_hold_nothing() -> None:
    assert hold_nanousd(registry().get("llama-3.2-1b-instruct"), call("x" * 1_000), AT) == 0


def test_without_max_tokens_the_cards_limit_bounds_the_output() -> None:
    assert hold_nanousd(registry().get("claude-sonnet"), call("", max_tokens=None), AT) == 16 * 2_000 + 128_000 * 10_000


def test_an_unknown_price_is_a_refusal_and_not_zero() -> None:
    unpriced = Card.model_validate({**registry().get("claude-sonnet").model_dump(), "prices": ()})
    with pytest.raises(UnpricedModel):
        hold_nanousd(unpriced, call(), AT)


@given(card=st.sampled_from(PAID), left=st.integers(-10, 10**9), at=MOMENTS, max_tokens=st.integers(1, 200_000))
def test_what_is_affordable_is_the_most_that_fits(card: Card, left: int, at: datetime, max_tokens: int) -> None:
    asked = call("Create a FastAPI server", max_tokens=max_tokens, model_id=card.id)
    tokens = affordable_output_tokens(card, asked, left, at)
    most = min(max_tokens, card.max_output_tokens or max_tokens)

    def held(count: int) -> int:
        return hold_nanousd(card, call("Create a FastAPI server", max_tokens=count, model_id=card.id), at)

    assert 0 <= tokens <= most
    assert tokens == 0 or held(tokens) <= left
    assert tokens == most or held(tokens + 1) > left


def test_what_remains_of_a_budget() -> None:
    state = BudgetState(
        name="global",
        scope="global",
        window="month",
        limit_nanousd=100,
        spent_nanousd=60,
        reserved_nanousd=50,
        resets_at=None,
    )
    assert state.remaining_nanousd == -10
