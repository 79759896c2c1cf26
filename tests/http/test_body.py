"""What a body may say: each wrong value gets a 422 with the exact field, whatever bytes arrive no 5xx."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.errors import InvalidInput
from orchestrator.http.body import InferBody, RouteBody, SearchBody, parse
from tests.http.conftest import Api

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8
PNG64 = base64.b64encode(PNG).decode()
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
USER = {"role": "user", "content": "Hi"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "function": {"name": "get_weather", "arguments": "{}"}}],
}
TWO_CALLS = {
    **CALLS,
    "tool_calls": [{"id": each, "function": {"name": "get_weather", "arguments": "{}"}} for each in ("c1", "c2")],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}


def options(**given: Any) -> dict[str, Any]:
    return {"input": "Hi", "options": given}


def tools(*given: Any, **more: Any) -> dict[str, Any]:
    return options(tools=list(given), **more)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


WRONG: tuple[tuple[Any, str], ...] = (
    # shape
    ([], "body"),
    ("text", "body"),
    ({}, "input"),
    ({"input": None}, "input"),
    ({"input": 5}, "input"),
    ({"input": [5]}, "input"),
    ({"input": ["a", 5], "task": "embed"}, "input.1"),
    ({"input": "Hi", "inputt": 1}, "inputt"),
    ({"input": "Hi", "task": "sing"}, "task"),
    ({"input": "Hi", "strategy": "cheap"}, "strategy"),
    ({"input": "Hi", "stream": "yes"}, "stream"),
    ({"input": "Hi", "tags": ["x"] * 17}, "tags"),
    ({"input": "Hi", "tags": [""]}, "tags.0"),
    ({"input": "Hi", "metadata": {str(n): n for n in range(65)}}, "metadata"),
    ({"input": "Hi", "metadata": {"a": "\x00"}}, "metadata"),
    ({"input": "Hi", "metadata": {"a": 2**64}}, "metadata"),
    ({"input": "Hi", "metadata": nested(70)}, "metadata"),
    ({"input": "Hi", "model": "m" * 201}, "model"),
    # messages
    ({"input": [{"role": "wizard", "content": "Hi"}]}, "input.0.role"),
    ({"input": [{"content": "Hi"}]}, "input.0.role"),
    ({"input": [{**USER, "name": "Ann"}]}, "input.0.name"),
    ({"input": [{"role": "user", "content": " "}]}, "input.0.content"),
    ({"input": [USER, {"role": "system", "content": "Be kind."}, USER]}, "input.1.role"),
    ({"input": [USER, {"role": "assistant", "content": "Yes"}]}, "input.1.role"),
    ({"input": [{"role": "system", "content": "Be kind."}]}, "input.0.role"),
    ({"input": [USER, RESULT]}, "input.1.tool_call_id"),
    ({"input": [USER, CALLS, USER]}, "input.2.role"),
    ({"input": [USER, CALLS, RESULT, RESULT]}, "input.3.tool_call_id"),
    ({"input": [USER, TWO_CALLS, RESULT]}, "input.2"),
    ({"input": [USER, TWO_CALLS, RESULT, USER]}, "input.3.role"),
    ({"input": [USER, {**USER, "tool_calls": CALLS["tool_calls"]}]}, "input.1.tool_calls"),
    ({"input": [{**USER, "tool_call_id": "c1"}]}, "input.0.tool_call_id"),
    ({"input": [USER] * 1_001}, "input"),
    ({"input": ""}, "input.0.content"),
    # the input does not fit the task
    ({"input": ["a", "b"]}, "input"),
    ({"input": []}, "input"),
    ({"task": "embed", "input": []}, "input"),
    ({"task": "embed", "input": [USER]}, "input"),
    ({"task": "embed", "input": ["a", " "]}, "input"),
    ({"task": "embed", "input": ["a"] * 2_049}, "input"),
    ({"task": "ocr", "input": "read this"}, "input"),
    ({"task": "generate", "input": {"data": PNG64}}, "input"),
    ({"task": "rerank", "input": ["a"]}, "query"),
    ({"task": "embed", "input": ["a"], "query": "b"}, "query"),
    ({"task": "embed", "input": ["a"], "stream": True}, "stream"),
    ({"task": "classify", "input": "a"}, "options.labels"),
    ({"task": "embed", "input": "a", "options": {"tools": [TOOL]}}, "options.tools"),
    ({"input": "a", "options": {"store": True}}, "options.store"),
    ({"input": "a", "options": {"labels": ["x"]}}, "options.labels"),
    # files
    ({"task": "ocr", "input": {"data": "not base64!"}}, "input.data"),
    ({"task": "ocr", "input": {"data": "bäse64"}}, "input.data"),
    ({"task": "ocr", "input": [{"data": PNG64}, {"data": "%%%"}]}, "input.1.data"),
    ({"task": "ocr", "input": {"data": ""}}, "input"),
    ({"task": "ocr", "input": {"data": "data:image/png,raw"}}, "input.data"),
    ({"task": "ocr", "input": {"data": PNG64, "blob": "b"}}, "input"),
    ({"task": "ocr", "input": {}}, "input"),
    ({"task": "ocr", "input": {"data": PNG64, "content_type": "png"}}, "input.content_type"),
    ({"task": "ocr", "input": [{"data": PNG64}] * 17}, "input"),
    ({"input": [{**USER, "images": [{"data": "%"}]}]}, "input.0.images.0.data"),
    ({"input": [{**USER, "images": [{"data": ""}]}]}, "input"),
    ({"input": [{**USER, "images": [{"data": base64.b64encode(b"%PDF-1").decode()}]}]}, "input.0.images"),
    ({"input": [{"role": "system", "content": "x", "images": [{"data": PNG64}]}, USER]}, "input.0.images"),
    # options
    (options(temperature=-0.1), "options.temperature"),
    (options(temperature=2.1), "options.temperature"),
    (options(temperature="hot"), "options.temperature"),
    (options(top_p=0), "options.top_p"),
    (options(top_p=1.1), "options.top_p"),
    (options(top_k=0), "options.top_k"),
    (options(max_tokens=0), "options.max_tokens"),
    (options(max_tokens=10**7), "options.max_tokens"),
    (options(max_tokens=10**400), "options.max_tokens"),
    (options(max_tokens=True), "options.max_tokens"),
    (options(max_tokens=1.5), "options.max_tokens"),
    (options(seed=-1), "options.seed"),
    (options(seed=2**53), "options.seed"),
    (options(stop=["a"] * 5), "options.stop"),
    (options(stop=[""]), "options.stop.0"),
    (options(schema="x"), "options.schema"),
    (options(schema={"type": "objct"}), "options.schema"),
    (options(schema={"$ref": "http://127.0.0.1:1/schema"}), "options.schema"),
    (options(schema={"$ref": "#/$defs/none"}), "options.schema"),
    (options(schema={"pattern": "("}), "options.schema"),
    (options(schema=nested(90)), "options.schema"),
    (tools({}), "options.tools"),
    (tools({"name": "two words"}), "options.tools"),
    (tools({"name": "x" * 65}), "options.tools"),
    (tools(TOOL, TOOL), "options.tools"),
    (tools({"name": "f", "parameters": []}), "options.tools"),
    (tools({"name": "f", "parameters": {"type": "objct"}}), "options.tools"),
    (tools({"type": "function", "function": {}}), "options.tools"),
    (tools("f"), "options.tools.0"),
    (tools(TOOL, tool_choice="get_time"), "options"),
    (options(tool_choice="auto"), "options"),
    (options(temprature=1), "options.temprature"),
    # constraints
    ({"input": "Hi", "constraints": {"quality": 1.1}}, "constraints.quality"),
    ({"input": "Hi", "constraints": {"max_cost_usd": -1}}, "constraints.max_cost_usd"),
    ({"input": "Hi", "constraints": {"max_cost_usd": "NaN"}}, "constraints.max_cost_usd"),
    ({"input": "Hi", "constraints": {"deadline_ms": 0}}, "constraints.deadline_ms"),
    ({"input": "Hi", "constraints": {"tiers": []}}, "constraints.tiers"),
    ({"input": "Hi", "constraints": {"tiers": ["gold"]}}, "constraints.tiers.0"),
)


@pytest.mark.parametrize(("body", "field"), WRONG, ids=[f"{n}-{field}" for n, (_, field) in enumerate(WRONG)])
async def test_a_wrong_value_is_a_422_that_names_its_field(api: Api, body: Any, field: str) -> None:
    response = await api.route(body)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["field"]) == (422, "invalid_input", field), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert api.house.called() == []


RIGHT: tuple[Any, ...] = (
    {"input": "Hi"},
    {"input": [USER]},
    {"input": [{"role": "system", "content": "Be kind."}, USER]},
    {"input": [{"role": "assistant", "content": "Welcome!"}, USER]},
    {"input": [USER, CALLS, RESULT], "options": {"tools": [TOOL]}},
    {"input": [{**USER, "images": [{"data": PNG64}]}]},
    {"input": [{"role": "user", "content": "", "images": [{"data": f"data:image/png;base64,{PNG64}"}]}]},
    {"input": "Hi", "strategy": "claude_only"},
    {"input": "Hi", "model": "auto"},
    {"input": "a NUL \x00 and an emoji 😀"},
    {"input": "Hi", "options": {"temperature": 1, "top_p": 1, "top_k": 1, "seed": 0, "stop": ["x"], "max_tokens": 1}},
    {
        "input": "Hi",
        "constraints": {"quality": 0.5, "max_cost_usd": "0.25", "deadline_ms": 60_000, "tiers": ["mid"]},
    },
    {"input": "Hi", "constraints": {"max_cost_usd": 0.25}},
    {"input": "Hi", "constraints": {"max_cost_usd": 1e-300}},
    {"input": "Hi", "metadata": {"deep": nested(50)}, "tags": ["a"], "user": "u"},
    tools({"type": "function", "function": TOOL}),
    tools({"name": "f", "input_schema": {"type": "object"}}),
    tools(TOOL, tool_choice="get_weather"),
    options(schema={"$defs": {"a": {"type": "string"}}, "properties": {"b": {"$ref": "#/$defs/a"}}}),
    {"task": "embed", "input": "one"},
    {"task": "embed", "input": ["one", "two"], "options": {"store": True}},
)


@pytest.mark.parametrize("body", RIGHT, ids=range(len(RIGHT)))
async def test_a_right_body_is_answered(api: Api, body: Any) -> None:
    response = await api.route(body)
    assert response.status_code == 200, response.text


async def test_claude_only_is_premium_only(api: Api) -> None:
    answer = (await api.route({"input": "Hi", "strategy": "claude_only"})).json()
    assert [rung["model"] for rung in answer["why"]["plan"]] == ["claude-sonnet"]


async def test_auto_routes_like_no_model_at_all(api: Api) -> None:
    answer = (await api.route({"input": "Hi", "model": "auto"})).json()
    assert (answer["model"], answer["why"]["complexity"]) == ("llama-3.2-1b-instruct", "simple")


async def test_base64_wrapped_in_lines_is_read(api: Api) -> None:
    wrapped = base64.encodebytes(PNG * 20).decode()
    await api.route({"input": [{**USER, "images": [{"data": wrapped}]}]})
    call = api.house.providers["anthropic"].calls or api.house.providers["deepseek"].calls
    assert (call[0].messages[0].images[0].data, call[0].messages[0].images[0].content_type) == (PNG * 20, "image/png")


async def test_anthropics_input_schema_is_the_tools_parameters(api: Api) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    await api.route(tools({"name": "f", "description": "d", "input_schema": schema}))
    sent = api.house.providers["anthropic"].calls[0].options.tools[0]
    assert sent == {"name": "f", "description": "d", "parameters": schema}


RAW: tuple[tuple[bytes, str], ...] = (
    (b"", "body"),
    (b"{", "body"),
    (b'{"input": "\\ud800"}', "body"),
    (b'{"input": "\xff"}', "body"),
    (b'{"input": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "body"),
    (b'{"input": "Hi", "options": {"temperature": NaN}}', "options.temperature"),
    (b'{"input": "Hi", "options": {"temperature": 1e999}}', "options.temperature"),
    (b'{"input": "Hi", "metadata": {"a": NaN}}', "metadata"),
    (b'{"input": "Hi", "metadata": {"a": -Infinity}}', "metadata"),
    (b'{"input": "Hi", "metadata": {"a": 1e999}}', "metadata"),
    (b'{"input": "Hi", "options": {"schema": {"minimum": 1e999}}}', "options.schema"),
    (b'{"input": "Hi", "constraints": {"max_cost_usd": 1e999}}', "constraints.max_cost_usd"),
    (b'{"input": "Hi", "constraints": {"max_cost_usd": NaN}}', "constraints.max_cost_usd"),
)


@pytest.mark.parametrize(("raw", "field"), RAW, ids=[str(n) for n in range(len(RAW))])
async def test_bytes_that_are_no_proper_json_are_a_422(api: Api, raw: bytes, field: str) -> None:
    response = await api.client.post("/route", content=raw)
    assert (response.status_code, response.json()["field"]) == (422, field), response.text


async def test_of_duplicate_keys_the_last_one_counts(api: Api) -> None:
    response = await api.client.post("/route", content=b'{"input": 5, "input": "Hi"}')
    assert response.status_code == 200


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"])
async def test_json_is_read_whatever_the_content_type_says(api: Api, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = await api.client.post("/route", content=b'{"input": "Hi"}', headers=headers)
    assert response.status_code == 200


async def test_a_body_past_the_limit_is_refused_while_it_arrives(api: Api) -> None:
    async def pieces() -> Any:
        for _ in range(65):
            yield b" " * 1_000_000

    response = await api.client.post("/route", content=pieces())
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_a_text_past_the_limit_is_told(api: Api) -> None:
    response = await api.route({"task": "embed", "input": ["x" * 6_000_000, "y" * 6_000_000]})
    assert response.json()["detail"] == "the input is over 10000000 characters; split it."


async def test_the_message_reads_well_to_a_newcomer(api: Api) -> None:
    unknown_task = {"input": "Hi", "task": "x"}
    bodies: tuple[dict[str, Any], ...] = (
        {},
        {"input": "Hi", "modle": "x"},
        {"input": 5},
        options(max_tokens=0),
        unknown_task,
    )
    told = {(await api.route(body)).json()["detail"] for body in bodies}
    assert told == {
        "input: this field is missing. GET /docs shows the shape.",
        "modle: this request has no such field. GET /docs shows the shape.",
        "input: must be a text, a list of texts, a list of chat messages, or files as data or blob; got 5. "
        "GET /docs shows the shape.",
        "options.max_tokens: Input should be greater than or equal to 1; got 0. GET /docs shows the shape.",
        "task: Input should be 'generate', 'embed', 'rerank', 'sentiment', 'toxicity', 'classify', 'ocr', 'document', "
        "'vision' or 'transcribe'; got 'x'. GET /docs shows the shape.",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    "task input query options constraints strategy model user metadata tags stream role content images tool_calls"
    " tool_call_id data blob content_type schema tools labels quality max_cost_usd tiers model_id limit".split()
)
BODIES = st.recursive(
    JSON | st.sampled_from(["generate", "embed", "user", "assistant", "hybrid", "auto", PNG64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=25,
)


@given(BODIES)
@settings(max_examples=300, deadline=None)
def test_any_json_is_a_body_or_an_invalid_input(value: Any) -> None:
    raw = json.dumps(value).encode()
    for model in (RouteBody, InferBody, SearchBody):
        outcome: object
        try:
            outcome = parse(model, raw)
        except InvalidInput as error:
            outcome = error.details["field"]
        assert outcome


@given(st.dictionaries(FIELDS, BODIES, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_request_is_answered_or_told_what_is_wrong(api: Api, body: dict[str, Any]) -> None:
    response = await api.client.post("/route", content=json.dumps({"input": "Hi", **body}).encode())
    assert response.status_code in (200, 404, 422), response.text
    if response.status_code != 200:
        assert response.json()["detail"]
