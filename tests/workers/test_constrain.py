from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from tests.data.schemas import models
from tests.data.schemas.models import MODELS
from tests.workers.constrained import at_random, fault
from workers.constrain import compile_schema
from workers.constrain.bounding import share
from workers.modality import Code, WorkerError

TREE = {
    "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"$ref": "#/$defs/nodes"}}}},
    "$ref": "#/$defs/node",
}
TREE["$defs"]["nodes"] = {"type": "array", "items": {"$ref": "#/$defs/node"}}  # type: ignore[index]
LINKED = {
    "type": "object",
    "properties": {"value": {"type": "string"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}


def nested(levels: int) -> dict[str, Any]:
    """Arrays inside arrays."""
    return {"type": "array", "items": nested(levels - 1)} if levels else {"type": "null"}


FOLLOWED: dict[str, dict[str, Any]] = {
    "any value": {},
    "a string": {"type": "string"},
    "an integer": {"type": "integer"},
    "a number": {"type": "number"},
    "null": {"type": "null"},
    "exclusive bounds": {"type": "number", "exclusiveMinimum": -0.5, "exclusiveMaximum": 1.25},
    "a tiny range": {"type": "number", "minimum": 0.30000000000000004, "maximum": 0.3001},
    "large integers": {"type": "integer", "minimum": 10**18, "maximum": 10**18 + 7},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": -21, "maximum": 30},
    "hundredths": {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 1},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 5},
    "a pattern with quotes and backslashes": {"type": "string", "pattern": r'^["\\/]{2,4}\n$'},
    "an open pattern with lengths": {"type": "string", "pattern": "[0-9]b", "minLength": 4, "maxLength": 7},
    "two patterns": {"allOf": [{"type": "string", "pattern": "^[a-z0-9]+$"}, {"pattern": "[0-9]$"}]},
    "unicode names and values": {
        "type": "object",
        "properties": {"größe": {"enum": ["klein", "groß"]}, "色": {"const": "赤🟥"}, 'a"b\\c': {"type": "boolean"}},
        "required": ["größe", "色", 'a"b\\c'],
    },
    "names and values with odd characters": {
        "type": "object",
        "properties": {"\x7f\x97": {"enum": ["q\x7f&\x00", "\ud800", "/", "\u2028"]}, "": {"const": "\x9f\\"}},
        "required": ["\x7f\x97", ""],
        "additionalProperties": False,
    },
    "an enum of everything": {"enum": [None, True, 1.5, "x", [1, {"a": "é"}], {"b": []}]},
    "an enum narrowed by its neighbours": {"enum": ["a", "bb", 3, 4], "type": "string", "minLength": 2},
    "an enum of many values": {"enum": [f"wert é{number}" for number in range(80)]},
    "types in a list": {"type": ["string", "null", "integer"], "maxLength": 3, "minimum": 5, "maximum": 6},
    "a tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, {"const": "x"}], "items": False, "minItems": 1},
    "counted items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 4},
    "different items of an enum": {
        "type": "array",
        "items": {"enum": [1, 2, 3, 1.0]},
        "uniqueItems": True,
        "minItems": 2,
    },
    "items that contain": {
        "type": "array",
        "items": {"type": "integer"},
        "contains": {"minimum": 90},
        "minContains": 2,
    },
    "a map": {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 2, "maxProperties": 5},
    "a map with patterns": {
        "type": "object",
        "patternProperties": {"^x-[a-z]+$": {"type": "null"}},
        "minProperties": 1,
    },
    "patterns that overlap": {
        "patternProperties": {"^a": {"type": "integer"}, "z$": {"maximum": 9}},
        "additionalProperties": False,
        "minProperties": 1,
    },
    "names from an enum": {
        "type": "object",
        "propertyNames": {"enum": ["a", "é"]},
        "additionalProperties": {"type": "null"},
    },
    "names beside named properties": {
        "type": "object",
        "properties": {"id": {"type": "integer"}},
        "required": ["id"],
        "additionalProperties": {"type": "string", "maxLength": 3},
        "minProperties": 3,
    },
    "needed together": {"properties": {"a": {"const": 1}, "b": {"const": 2}}, "dependentRequired": {"a": ["b"]}},
    "merged objects": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {
                "properties": {"a": {"minimum": 3}, "b": {"type": "null"}},
                "required": ["b"],
                "additionalProperties": False,
            },
        ]
    },
    "any of": {
        "anyOf": [{"type": "integer", "minimum": 5}, {"type": "array", "items": {"type": "null"}}],
        "maximum": 7,
    },
    "one of, told apart by a constant": {
        "oneOf": [
            {"properties": {"kind": {"const": "a"}, "n": {"type": "integer"}}, "required": ["kind", "n"]},
            {"properties": {"kind": {"const": "b"}, "n": {"type": "string"}}, "required": ["kind", "n"]},
        ],
        "type": "object",
    },
    "one of, told apart by type": {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "array"}]},
    "one of several constants": {"oneOf": [{"const": "a"}, {"const": "b"}, {"enum": ["b", "c"]}]},
    "a tree": TREE,
    "a linked list": LINKED,
    "only what is declared": {"properties": {"a": {"const": 1}}, "unevaluatedProperties": False},
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_whatever_is_written_at_random_fits_the_schema_and_ends_in_time(name: str) -> None:
    constraint = compile_schema(FOLLOWED[name], 220)
    assert constraint.most_tokens <= 220
    for seed in range(25):
        text, finish, tokens = at_random(constraint, seed)
        assert fault(constraint, text, finish, tokens) is None, text


CHECKS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
    "time": time.fromisoformat,
    "uuid": UUID,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
    "email": re.compile(r"[^@ ]+@[^@ ]+\.[a-z]").match,
    "uri": lambda text: urlsplit(text).hostname,
    "regex": re.compile,
}


@pytest.mark.parametrize("name", CHECKS)
def test_formats_are_kept_as_their_readers_see_them(name: str) -> None:
    constraint = compile_schema({"type": "string", "format": name}, 300)
    for seed in range(25):
        assert CHECKS[name](constraint.parse(at_random(constraint, seed)[0]))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"not": {"type": "null"}}, "uses not"),
        ({"properties": {"a": {"if": {}, "then": {}}}}, "#/properties/a uses if"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "uses uniqueItems"),
        ({"$ref": "https://example.com/x.json"}, "points outside the schema"),
        ({"$ref": "#/$defs/absent"}, "points at nothing"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "leads back to itself"),
        ({"type": "string", "pattern": "(?=a)b"}, "looks around"),
        ({"type": "string", "pattern": r"(a)\1"}, r"has \1"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "may fit both"),
        ({"oneOf": [{"const": "auto"}, {"type": "string"}]}, "may fit both"),
        ({"allOf": [{"properties": {"a": {}}}, {"unevaluatedProperties": False}]}, "uses unevaluatedProperties"),
        ({"type": "array", "contains": {"type": "null"}, "maxContains": 1}, "uses maxContains"),
        ({"type": "stirng"}, "not a JSON schema"),
        ({"type": "string", "minLength": 5, "maxLength": 4}, "nothing can fit"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "nothing can fit"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "nothing can fit"),
        ({"properties": {"again": {"$ref": "#"}}, "required": ["again"], "type": "object"}, "nothing can fit"),
        ({"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "^b"}]}, "nothing can fit"),
        ({"type": "integer", "minimum": 3, "exclusiveMaximum": 3}, "nothing can fit"),
        ({"enum": list(range(1001))}, "more than 1000 values"),
        ({"type": "string", "pattern": "a" * 1001}, "longer than 1000 characters"),
        ({"type": "string", "pattern": "^(a{900}){900}$"}, "nothing can fit"),
        ({"type": "object", "minProperties": 10**9}, "more than 26 properties"),
        ({"type": "array", "contains": {}, "minContains": 10**9}, "minContains above 64"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 10**9}, "may need 5000000002 tokens"),
        (nested(400), "nested too deeply"),
        (
            {"allOf": [{"type": "string", "pattern": "(a|b)*a(a|b){12}"}, {"pattern": "^(a|b)*b(a|b){13}$"}]},
            "too complicated",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_before_anything_is_written(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkerError) as refused:
        compile_schema(schema, 500)
    assert refused.value.code is Code.INVALID_INPUT
    assert words in refused.value.message


def test_too_few_tokens_are_refused_with_the_number_that_is_enough() -> None:
    schema = {"type": "object", "properties": {"label": {"enum": ["code", "documentation"]}}, "required": ["label"]}
    with pytest.raises(WorkerError, match="may need 26 tokens, but max_tokens is 16; allow at least 26"):
        compile_schema(schema, 16)
    assert compile_schema(schema, 26).most_tokens == 26
    with pytest.raises(WorkerError, match="allow at least 26"):
        compile_schema(schema, 25)


def test_a_body_gets_most_of_the_bytes_and_a_title_some() -> None:
    texts = {"title": {"type": "string"}, "body": {"type": "string"}}
    constraint = compile_schema({"type": "object", "properties": texts, "required": ["title", "body"]}, 1000)
    rooms = sorted(int(found) for found in re.findall(r"\\xff\]\{0,(\d+)\}", constraint.llama_grammar))
    assert len(rooms) == 2
    assert rooms[0] >= 60
    assert rooms[1] >= 800
    assert sum(rooms) + len('{"title":"","body":""}') <= 999


def test_shares_go_by_weight_and_never_beyond_what_is_wanted() -> None:
    assert share(100, [(10, 10, 5), (10, float("inf"), 1), (10, float("inf"), 3)]) == [10, 27, 62]
    assert share(100, [(0, 20, 9), (0, float("inf"), 1)]) == [20, 80]


def test_a_longer_limit_reaches_deeper_into_a_recursive_schema() -> None:
    def deepest(max_tokens: int) -> int:
        constraint = compile_schema(TREE, max_tokens)
        return max(at_random(constraint, seed)[0].count("kids") for seed in range(60))

    assert deepest(60) < deepest(900)


def test_optional_properties_may_be_left_out_and_required_ones_never_are() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}},
        "required": ["b"],
    }
    constraint = compile_schema(schema, 60)
    seen = {at_random(constraint, seed)[0] for seed in range(80)}
    assert seen == {'{"b":2}', '{"a":1,"b":2}', '{"b":2,"c":3}', '{"a":1,"b":2,"c":3}'}


@pytest.mark.parametrize("name", MODELS)
def test_pydantic_models_compile_and_read_back_what_is_written(name: str) -> None:
    model = MODELS[name]
    constraint = compile_schema(model.model_json_schema(), 1024)
    for seed in range(10):
        text, finish, _ = at_random(constraint, seed)
        assert finish == "stop"
        assert model.model_validate(constraint.parse(text)).model_dump_json()


@pytest.mark.parametrize("name", MODELS)
def test_the_schemas_beside_are_those_of_the_models(name: str) -> None:
    beside = Path(models.__file__).with_name(f"{name}.json")
    assert json.loads(beside.read_text("utf-8")) == MODELS[name].model_json_schema()


def test_an_answer_that_does_not_fit_is_an_error_of_inference() -> None:
    constraint = compile_schema({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}, 60)
    assert constraint.parse('{"n": 3}') == {"n": 3}
    for text, words in (('{"n": 3', "is no JSON"), ('{"n": "3"}', "does not fit at $.n"), ("[]", "does not fit at $")):
        with pytest.raises(WorkerError) as failed:
            constraint.parse(text)
        assert failed.value.code is Code.INFERENCE_FAILED
        assert words in failed.value.message
