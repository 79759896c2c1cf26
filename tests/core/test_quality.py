"""Grades of replies: each signal alone, and that a caller's schema fetches nothing and breaks nothing."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import json_schema
from orchestrator.core.quality import judge
from orchestrator.core.types import FinishReason, Options, Reply, ToolCall
from registry.schema import Task, Usage
from tests.samples import request

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLED = (ToolCall(id="1", name="f", arguments="{}"),)


def grade(text: str | None = "Four.", *, options: Options | None = None, **changes: Any) -> float:
    reply = Reply(usage=Usage(), text=text, **changes)
    return judge(request(options=options or Options()), reply).value


@pytest.mark.parametrize(
    ("expected", "text", "changes"),
    [
        (1.0, "Four.", {}),
        (0.0, "", {}),
        (0.0, " \n", {}),
        (0.0, None, {}),
        (1.0, None, {"tool_calls": CALLED}),
        (0.4, "Four and", {"finish_reason": FinishReason.LENGTH}),
        (0.2, "Four.", {"finish_reason": FinishReason.REFUSAL}),
        (0.2, "I'm sorry, but I can't help with that.", {}),
        (0.2, "As an AI language model, I have no opinion.", {}),
        (0.2, "I cannot assist with that request.", {}),
        (1.0, "The clerk said: I'm sorry, but I can't help with that.", {}),
        (0.2, "one two three four five six seven eight " * 4, {}),
        (1.0, "one two three four five six seven eight " * 2, {}),
        (1.0, "ha " * 100, {}),
        (0.08, "I'm sorry, but", {"finish_reason": FinishReason.LENGTH}),
    ],
)
def test_each_signal_lowers_the_grade_alone(expected: float, text: str | None, changes: dict[str, Any]) -> None:
    assert grade(text, **changes) == pytest.approx(expected)


def test_a_cut_is_milder_where_the_caller_asked_for_a_short_answer() -> None:
    assert grade("Four and", options=Options(max_tokens=2), finish_reason=FinishReason.LENGTH) == 0.8


@pytest.mark.parametrize(
    ("expected", "text"),
    [(1.0, '{"city": "Rome"}'), (0.3, '{"city": 5}'), (0.3, "[]"), (0.0, "Rome"), (0.0, '{"city"'), (0.0, "[" * 9_999)],
)
def test_a_schema_is_kept_or_not(expected: float, text: str) -> None:
    assert grade(text, options=Options(schema=CITY)) == expected


def test_a_tool_call_needs_no_schema() -> None:
    assert grade(None, options=Options(schema=CITY), tool_calls=CALLED) == 1.0


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$ref": "#/$defs/none"}, {"$ref": "http://127.0.0.1:1/"}])
def test_a_schema_that_cannot_be_evaluated_is_kept_by_nothing(schema: dict[str, Any]) -> None:
    assert grade("{}", options=Options(schema=schema)) == 0.3


def test_no_schema_makes_this_process_open_an_address() -> None:
    asked: list[str] = []

    class Seen(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "object"}')

    server = http.server.HTTPServer(("127.0.0.1", 0), Seen)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    schema = {"$ref": f"http://127.0.0.1:{server.server_port}/schema"}
    assert json_schema.fits(schema, {}) is False
    assert "points outside it" in (json_schema.objection(schema) or "")
    server.shutdown()
    server.server_close()
    assert asked == []


@pytest.mark.parametrize(
    ("schema", "objection"),
    [
        (CITY, None),
        ({}, None),
        ({"$defs": {"a": {"$anchor": "here"}}, "$ref": "#here"}, None),
        ({"enum": [{"$ref": "http://is.data"}]}, None),
        ({"properties": {"$ref": {"type": "string"}}}, None),
        ({"type": "objct"}, "is not a JSON schema: 'objct' is not valid under any of the given schemas"),
        ({"$ref": "#/$defs/a"}, "has the reference '#/$defs/a', which points at nothing"),
    ],
)
def test_a_schema_is_usable_or_told_why_not(schema: dict[str, Any], objection: str | None) -> None:
    assert json_schema.objection(schema) == objection


@given(text=st.text(max_size=300), reason=st.sampled_from(FinishReason), schema=st.sampled_from([None, CITY]))
def test_every_reply_is_graded_between_zero_and_one(
    text: str, reason: FinishReason, schema: dict[str, Any] | None
) -> None:
    assert 0.0 <= grade(text, options=Options(schema=schema), finish_reason=reason) <= 1.0


def test_other_tasks_are_graded_by_whether_they_answered() -> None:
    asked = request(task=Task.EMBED, messages=(), texts=("x",))
    assert judge(asked, Reply(usage=Usage(), data=[[0.1]])).value == 1.0
    assert judge(asked, Reply(usage=Usage())).value == 0.0


def test_the_grade_carries_its_signals() -> None:
    told = judge(request(), Reply(usage=Usage(), text="Four and", finish_reason=FinishReason.LENGTH))
    assert json.loads(json.dumps(dict(told.signals))) == {
        "answered": 1.0,
        "complete": 0.4,
        "willing": 1.0,
        "valid": 1.0,
        "fresh": 1.0,
    }
