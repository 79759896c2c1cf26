"""Small values: dollars in words, transcripts, options and answers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import errors, types
from orchestrator.core.errors import BudgetExceeded, InvalidInput, usd
from orchestrator.core.transcript import input_text, output_text
from orchestrator.core.types import Answer, Ending, FinishReason, Media, Message, Options, Reply, ToolCall
from registry.schema import Task, Usage
from tests.samples import attempt, decision, hold, request


@pytest.mark.parametrize(
    ("nanousd", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_500_000, "$0.0015"),
        (10**9, "$1.00"),
        (200 * 10**9, "$200.00"),
        (1_234_567_890, "$1.23456789"),
        (-500_000_000, "-$0.50"),
    ],
)
def test_dollars_are_exact_with_at_least_two_decimals(nanousd: int, shown: str) -> None:
    assert usd(nanousd) == shown


@given(st.integers(-(10**20), 10**20))
def test_dollars_read_back_as_the_same_nano_dollars(nanousd: int) -> None:
    whole, _, rest = usd(nanousd).replace("$", "").lstrip("-").partition(".")
    assert int(whole) * 10**9 + int(rest.ljust(9, "0")) == abs(nanousd)


def test_a_refused_budget_says_what_is_left_and_what_to_do() -> None:
    refused = BudgetExceeded(
        budget="acme", limit_nanousd=10**9, used_nanousd=9 * 10**8, asked_nanousd=2 * 10**8, resets_at=None
    )
    assert refused.message == (
        "budget 'acme' has $0.10 of $1.00 left and this call could cost $0.20. "
        "Raise the limit, lower max_tokens, or use strategy local_only."
    )


def test_an_error_keeps_its_field_and_details() -> None:
    assert dict(InvalidInput("wrong", field="input.0", size=3).details) == {"field": "input.0", "size": 3}
    assert dict(InvalidInput("wrong").details) == {}


def test_every_error_stands_in_the_tree_at_the_top_of_its_module() -> None:
    tree = errors.__doc__ or ""
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) > 20
    for kind in kinds:
        assert kind.__name__ in tree
    codes = [kind.__dict__["code"] for kind in kinds if "code" in kind.__dict__ and kind.__name__ != "CallFailed"]
    assert len(codes) == len(set(codes))


def test_a_transcript_names_media_and_never_holds_them() -> None:
    picture = Media(content_type="image/png", data=b"secret bytes")
    shown = Message(role="user", content="Hi", images=(picture,))
    asked = request(messages=(Message(role="system", content="Be kind."), shown))
    assert input_text(asked) == "system: Be kind.\nuser: Hi [image/png, 12 bytes]"
    assert input_text(request(task=Task.OCR, messages=(), media=(picture,))) == "[image/png, 12 bytes]"
    assert input_text(request(task=Task.RERANK, messages=(), query="q", texts=("a", "b"))) == "q\na\nb"


def test_a_transcript_is_bounded() -> None:
    assert len(input_text(request("x" * 200_000))) == 100_000
    assert len(output_text(Reply(usage=Usage(), text="x" * 200_000)) or "") == 100_000


def test_what_was_answered_is_text_or_tool_calls_and_never_data() -> None:
    called = Reply(usage=Usage(), text="", tool_calls=(ToolCall(id="1", name="f", arguments='{"ä": 1}'),))
    assert output_text(called) == '{"text": "", "tool_calls": [{"name": "f", "arguments": "{\\"ä\\": 1}"}]}'
    assert output_text(Reply(usage=Usage(), text="Four.")) == "Four."
    assert output_text(Reply(usage=Usage(), data=[[0.1]])) is None


def test_options_are_dropped_by_name_and_only_those_that_can_be() -> None:
    given = Options(temperature=0.5, top_p=0.5, top_k=5, seed=1, max_tokens=9, stop=("x",))
    kept = given.without({"temperature", "top_k", "max_tokens", "forced_tool_choice"})
    assert kept == Options(top_p=0.5, seed=1, max_tokens=9, stop=("x",))
    assert given.without(()) is given


def test_an_answer_costs_what_all_its_attempts_cost() -> None:
    lapsed, settled = attempt(hold(700), Ending.LAPSED, cost=700), attempt(hold(500), Ending.SETTLED, cost=123)
    answered = Answer(
        request=request(),
        reply=Reply(usage=Usage(), text="Four.", finish_reason=FinishReason.STOP),
        decision=decision(),
        attempts=(lapsed, settled),
        answered_by=settled,
        latency_ms=1.0,
    )
    assert answered.cost_nanousd == 823


def test_every_value_is_frozen_keyword_only_and_slotted() -> None:
    ours = [value for value in vars(types).values() if getattr(value, "__module__", "") == types.__name__]
    values = [value for value in ours if dataclasses.is_dataclass(value)]
    assert len(values) > 15
    for value in values:
        assert vars(value)["__dataclass_params__"].frozen
        assert all(field.kw_only for field in dataclasses.fields(value))
        assert "__slots__" in vars(value)
