from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.quality.relaxed_json import NoJson, instruction, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
HOLDERS = VALUES.filter(lambda value: isinstance(value, dict | list))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure! Here it is:\n```json\n{"a": [1, 2]}\n```\nAnything else?', {"a": [1, 2]}),
        ("```\n[true]\n```", [True]),
        ('The answer (see [1]) is {"grade": "gut", "n": 2}.', {"grade": "gut", "n": 2}),
        ('{"a": 1, "b": [1, 2,],}', {"a": 1, "b": [1, 2]}),
        ("{'a': 'it\\'s', 'b': None, 'c': True, 'd': False}", {"a": "it's", "b": None, "c": True, "d": False}),
        ('{"a": 1, // one\n "b": /* two */ 2, # three\n "c": 3}', {"a": 1, "b": 2, "c": 3}),
        ('{name: "Ada", größe: 1.5}', {"name": "Ada", "größe": 1.5}),
        ('{"a": "line one\nline two"}', {"a": "line one\nline two"}),
        ('{"a": {"b": [1, 2', {"a": {"b": [1]}}),
        ('{"a": "whole", "b": "cut of', {"a": "whole"}),
        ('{"a": 1, "b": tr', {"a": 1}),
        ('{"a": [1.5e', {"a": []}),
        ('{"a": 1, "b"', {"a": 1}),
        ('{"a": [{"b": 1}, {"c": 2}', {"a": [{"b": 1}, {"c": 2}]}),
        ('{"re": "\\d+", "u": "\\ud83d\\ude42",}', {"re": "\\d+", "u": "🙂"}),
        ("[+1, .5, -2., 1e3,]", [1, 0.5, -2.0, 1000.0]),
        ('"just text"', "just text"),
        ("17", 17),
    ],
)
def test_reads_what_models_write(text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "no JSON here", "{", '{"a"', "[nan]", "NaN", "{1: 2}", "[the result]", '{"a" 1}', "[1 2]", "{a b}"),
        "[" * 5000,
        "{a:" * 5000,
    ],
)
def test_makes_nothing_up(text: str) -> None:
    try:
        found = parse(text)
    except NoJson:
        return
    assert found in ([], {}), "only what was opened and holds nothing may be left"


@settings(max_examples=60)
@given(VALUES)
def test_valid_json_parses_to_itself(value: Any) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=2)) == value


@settings(max_examples=60)
@given(HOLDERS, st.sampled_from(("Here you are: ", "Sure.\n\n", "→ ")))
def test_prose_around_a_value_does_not_change_it(value: Any, before: str) -> None:
    assert parse(f"{before}{json.dumps(value)}\nThat is all.") == value


@settings(max_examples=60)
@given(HOLDERS)
def test_a_fence_around_a_value_does_not_change_it(value: Any) -> None:
    assert parse(f"Look:\n```json\n{json.dumps(value, indent=1)}\n```") == value


@settings(max_examples=60)
@given(HOLDERS, st.data())
def test_a_cut_answer_keeps_only_what_was_there(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        found = parse(cut)
    except NoJson:
        return
    assert _within(found, value), f"{found!r} is not part of {value!r}"


def _within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(each, whole[key]) for key, each in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(_within, part, whole))
    return bool(part == whole)


@settings(max_examples=400)
@given(st.text(alphabet="{}[]:,\"'\\/*#` \n\t0123456789.eE+-truefalsnN_u🙂é"))
def test_no_text_crashes_it(text: str) -> None:
    with contextlib.suppress(NoJson):  # the one error that callers must expect
        json.dumps(parse(text))


def test_the_instruction_carries_the_schema_as_it_is() -> None:
    schema = {"type": "object", "properties": {"größe": {"type": "integer"}}, "required": ["größe"]}
    assert instruction(schema) == (
        "Answer with exactly one JSON value that fits the JSON schema below. Write only the JSON: no other words, no "
        "code fence, no comments. Every required property must be there.\n"
        'JSON schema: {"type":"object","properties":{"größe":{"type":"integer"}},"required":["größe"]}'
    )
