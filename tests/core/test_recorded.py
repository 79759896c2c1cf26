"""Recorded outcomes, read: both shapes, and every way in which a file can be wrong names its line and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay.recorded import Outcome, Recorded, read_answers, read_rows

ROW: dict[str, Any] = {
    "id": "q1",
    "query": "What is 2+2?",
    "split_key": "sums",
    "in_tok": 7,
    "models": {
        "small": {"score": 0, "score_fixed": 1, "out_tok": 5},
        "big": {"score": 0.5, "out_tok": 9, "in_tok": 8, "usd": 0.001},
    },
}


def read(*rows: Any, scale: float = 1.0) -> list[Recorded]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return list(read_rows(lines, "rows.jsonl", scale=scale))


def test_a_benchmark_row_keeps_quality_tokens_dollars_and_its_cluster() -> None:
    (row,) = read(ROW)
    assert row == Recorded(
        id="q1",
        text="What is 2+2?",
        cluster="sums",
        input_tokens=7,
        outcomes={
            "small": Outcome(quality=1.0, output_tokens=5),  # the mended score, not the official one
            "big": Outcome(quality=0.5, output_tokens=9, input_tokens=8, usd=0.001),
        },
    )


def test_a_label_has_a_text_and_outcomes_and_is_a_cluster_of_its_own() -> None:
    first, second = read(
        {"text": "Hi", "outcomes": {"a": 1, "b": 0.25}, "task_class": "chat"}, {"text": "Ho", "outcomes": {"a": True}}
    )
    assert (first.text, first.cluster, first.task_class) == ("Hi", "line 1", "chat")
    assert first.outcomes["b"] == Outcome(quality=0.25)
    assert (second.cluster, second.outcomes["a"].quality) == ("line 2", 1.0)


def test_raw_answers_may_come_with_the_row() -> None:
    (row,) = read({**ROW, "answers": {"small": "4"}})
    assert row.answers == {"small": "4"}


def test_blank_lines_and_a_byte_order_mark_are_passed_over_and_lines_keep_their_numbers() -> None:
    rows = read(b"\xef\xbb\xbf" + json.dumps(ROW).encode(), b"\n", b"  \n")
    assert len(rows) == 1
    with pytest.raises(InvalidInput, match=r"rows\.jsonl, line 3: query is missing"):
        read(ROW, b"\n", {"models": {"a": {"score": 1}}})


def test_marks_out_of_ten_are_scaled_and_refused_where_nobody_said_so() -> None:
    (row,) = read({"query": "q", "models": {"a": {"score": 8.0}}}, scale=10)
    assert row.outcomes["a"].quality == 0.8
    with pytest.raises(InvalidInput, match=r"models\.a\.score is 8\.0; it must be a number from 0 to 1.*--scale"):
        read({"query": "q", "models": {"a": {"score": 8.0}}})


@pytest.mark.parametrize(
    ("row", "told", "field"),
    [
        (b"{", "line 1: this is not one JSON object", "line"),
        (b"[1]", "line 1: this is not one JSON object (it is a list)", "line"),
        (b'{"query": "\xff"}', "line 1: this is not one JSON object", "line"),
        (b'{"query": NaN}', "line 1: this is not one JSON object", "line"),
        (b'{"query": "\\ud800", "models": {"a": {"score": 1}}}', "line 1: this is not one JSON object", "line"),
        (b"[" * 100_000, "line 1: this is not one JSON object", "line"),
        ({"prompt": "q"}, "line 1: query is missing; a row has `query` and `models`", "query"),
        ({"query": 7, "models": {}}, "query is 7; it must be a text", "query"),
        ({"query": "q"}, "models is missing", "models"),
        ({"query": "q", "models": {}}, "models is {}; it must be an object with at least one model", "models"),
        ({"query": "q", "models": [1]}, "models is [1]; it must be an object", "models"),
        ({"query": "q", "models": {"a": 1}}, 'models.a is 1; it must be an object such as {"score": 1', "models.a"),
        ({"query": "q", "models": {"a": {}}}, "models.a.score is missing", "models.a.score"),
        ({"query": "q", "models": {"a": {"score": "1"}}}, "models.a.score is '1'", "models.a.score"),
        ({"query": "q", "models": {"a": {"score": -0.1}}}, "models.a.score is -0.1", "models.a.score"),
        (
            {"query": "q", "models": {"a": {"score": 0, "score_fixed": 2}}},
            "models.a.score_fixed is 2",
            "models.a.score_fixed",
        ),
        (
            {"query": "q", "models": {"a": {"score": 1, "out_tok": 1.5}}},
            "models.a.out_tok is 1.5; it must be a whole number",
            "models.a.out_tok",
        ),
        ({"query": "q", "models": {"a": {"score": 1, "usd": -1}}}, "models.a.usd is -1", "models.a.usd"),
        ({"query": "q", "in_tok": -1, "models": {"a": {"score": 1}}}, "in_tok is -1", "in_tok"),
        ({"query": "q", "split_key": [1], "models": {"a": {"score": 1}}}, "split_key is [1]", "split_key"),
        ({"text": "q", "outcomes": {"a": None}}, "outcomes.a is None; it must be a number from 0 to 1", "outcomes.a"),
        (
            {"text": "q", "outcomes": {"a": 1}, "answers": {"a": 1}},
            "answers is {'a': 1}; it must be an object",
            "answers",
        ),
        ({"text": None, "outcomes": {"a": 1}}, "text is missing", "text"),
    ],
)
def test_what_is_wrong_is_told_with_line_field_and_value(row: Any, told: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(row)
    assert told in caught.value.message
    assert caught.value.details["field"] == field


def test_a_long_wrong_value_is_told_in_part() -> None:
    with pytest.raises(InvalidInput) as caught:
        read({"query": "q", "models": "x" * 10_000})
    assert len(caught.value.message) < 200


def test_raw_answers_are_found_by_row_and_model() -> None:
    lines = [b'{"id": "q1", "model": "small", "output": "4"}', b"", b'{"id": "q1", "model": "big", "output": "four"}']
    assert read_answers(lines, "answers") == {"q1": {"small": "4", "big": "four"}}
    with pytest.raises(InvalidInput, match=r"answers, line 1: output is missing"):
        read_answers([b'{"id": "q1", "model": "small"}'], "answers")


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
BRANCH = LEAF | st.lists(LEAF, max_size=3) | st.dictionaries(st.text(max_size=6), LEAF, max_size=3)
JSON = BRANCH | st.lists(BRANCH, max_size=3) | st.dictionaries(st.text(max_size=6), BRANCH, max_size=3)
KEYS = st.sampled_from(
    ["query", "models", "text", "outcomes", "id", "split_key", "in_tok", "task_class", "answers", "a"]
)
MODELS = st.dictionaries(
    st.text(max_size=6),
    st.dictionaries(st.sampled_from(["score", "score_fixed", "out_tok", "usd", "in_tok"]), JSON, max_size=4) | JSON,
    max_size=3,
)
ROWS = st.dictionaries(KEYS, JSON | MODELS | st.dictionaries(st.text(max_size=4), st.floats(0, 1)), max_size=5)


LINES = st.lists(st.binary(max_size=60) | ROWS.map(lambda row: json.dumps(row).encode()), max_size=4)
T = TypeVar("T")


def refused(read: Callable[[], T]) -> tuple[T | None, InvalidInput | None]:
    try:
        return read(), None
    except InvalidInput as error:
        return None, error


@given(LINES)
def test_any_file_is_either_read_or_refused_with_its_line(lines: list[bytes]) -> None:
    rows, error = refused(lambda: list(read_rows(lines, "fuzz")))
    if error:
        assert error.message.startswith("fuzz, line ")
        assert error.details["field"]
    for row in rows or ():
        row.text.encode()  # whatever was read can be written again
        assert row.outcomes
        assert all(0 <= outcome.quality <= 1 for outcome in row.outcomes.values())
        assert all(outcome.output_tokens is None or outcome.output_tokens >= 0 for outcome in row.outcomes.values())


@given(LINES)
def test_any_file_of_answers_is_either_read_or_refused_with_its_line(lines: list[bytes]) -> None:
    _, error = refused(lambda: read_answers(lines, "fuzz"))
    assert error is None or error.message.startswith("fuzz, line ")
