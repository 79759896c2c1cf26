"""Every endpoint as an app's backend uses it: answers, streams, files, the log, budgets, settings."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.live_settings import LiveSettings
from orchestrator.adapters.memory import Cut
from orchestrator.core.errors import CallBroken, CallRefused
from orchestrator.core.types import Call, Reply
from orchestrator.wiring import limits_of
from registry.schema import Usage
from tests.flow.house import GOOD, LOCAL, MID, PREMIUM, UP, build, reply, vectors
from tests.http.conftest import Api, as_role, open_api

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8
HARD = "Create a FastAPI server"


def modalities(call: Call) -> Reply:
    """Vectors for texts; for files their type and size, so that a test sees what arrived."""
    if call.media:
        return Reply(usage=Usage(), data=[f"{item.content_type} {len(item.data)}" for item in call.media])
    return vectors(call) if call.task == "embed" else Reply(usage=Usage(), data=[{"label": "positive"}])


@pytest.fixture
async def api(tmp_path: Path) -> Any:
    async with open_api(build(builtin=modalities, up=UP | {"ppocr-rapidocr"}), tmp_path) as opened:
        yield opened


def events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each server-sent event."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


# -- answers ----------------------------------------------------------------------------------------


async def test_an_answer_says_what_it_cost_and_why(api: Api) -> None:
    response = await api.route({"input": HARD})
    answer = response.json()
    assert (answer["output"], answer["model"], answer["tier"]) == (GOOD, PREMIUM, "premium")
    assert (answer["cost_nanousd"], answer["cost_usd"]) == (10 * 2_000 + 20 * 10_000, "0.000220000")
    assert answer["usage"]["output_tokens"] == 20
    assert answer["why"]["complexity"] == "high"
    assert answer["why"]["plan"][0]["model"] == PREMIUM
    (attempt,) = answer["why"]["attempts"]
    assert (attempt["ending"], attempt["accepted"], attempt["signals"]["answered"]) == ("settled", True, 1.0)
    assert response.headers["x-pennyroute-id"] == answer["id"]
    assert response.headers["x-pennyroute-cost-usd"] == "0.000220000"


async def test_a_named_model_is_asked_through_models_infer(api: Api) -> None:
    answer = (await api.client.post("/models/infer", json={"model_id": "claude-opus", "input": "Hi"})).json()
    assert (answer["model"], answer["task"]) == ("claude-opus-5-5", "generate")
    vector = (await api.client.post("/models/infer", json={"model_id": "minilm-l6-builtin", "input": "Hi"})).json()
    assert (vector["task"], len(vector["output"][0])) == ("embed", 384)
    unknown = await api.client.post("/models/infer", json={"model_id": "none", "input": "Hi"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model_not_found")


async def test_texts_are_stored_and_found_again(api: Api) -> None:
    body = {"task": "embed", "input": ["bananas", "xylophone"], "options": {"store": True}, "metadata": {"n": 1}}
    stored = (await api.route(body)).json()
    assert len(stored["stored_ids"]) == len(stored["output"]) == 2
    found = (await api.client.post("/embeddings/search", json={"query": "banana", "limit": 1})).json()
    assert [(hit["text"], hit["metadata"]) for hit in found["results"]] == [("bananas", {"n": 1})]
    assert found["results"][0]["id"] == stored["stored_ids"][0]
    assert (found["model"], "output" in found) == ("minilm-l6-builtin", False)


async def test_models_infer_stores_where_asked_too(api: Api) -> None:
    body = {"model_id": "minilm-l6-builtin", "task": "embed", "input": "x", "options": {"store": True}}
    assert len((await api.client.post("/models/infer", json=body)).json()["stored_ids"]) == 1


# -- streams ----------------------------------------------------------------------------------------


async def test_a_stream_is_decision_deltas_answer(api: Api) -> None:
    response = await api.route({"input": HARD, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    told = events(response.text)
    assert [name for name, _ in told] == ["decision", *["delta"] * 7, "answer"]
    assert "".join(data["text"] for name, data in told if name == "delta") == GOOD
    assert told[0][1]["complexity"] == "high"
    assert told[-1][1]["cost_nanousd"] == 220_000
    assert api.state.in_work == 0


async def test_a_cut_stream_ends_with_an_error_event(tmp_path: Path) -> None:
    async with open_api(build(premium=Cut("Half of", CallBroken("reset"))), tmp_path) as api:
        told = events((await api.route({"input": HARD, "stream": True})).text)
    assert [name for name, _ in told] == ["decision", "delta", "delta", "error"]
    problem = told[-1][1]
    assert (problem["code"], problem["status"], problem["partial_text"]) == ("provider_error", 502, "Half of")


async def test_what_nobody_can_answer_is_a_status_and_not_a_stream(tmp_path: Path) -> None:
    async with open_api(build(up=frozenset()), tmp_path) as api:
        response = await api.route({"input": "Hi", "stream": True})
    assert (response.status_code, response.json()["code"]) == (503, "no_model_available")


async def test_a_budget_refused_in_a_stream_is_its_error_event(tmp_path: Path) -> None:
    house = build(up=frozenset({PREMIUM}), budget_nanousd=20_000_000)  # more than is foretold, less than is held
    async with open_api(house, tmp_path) as api:
        told = events((await api.route({"input": HARD, "stream": True, "options": {"max_tokens": 8_000}})).text)
    assert [(name, data.get("status")) for name, data in told][1:] == [("error", 402)]


async def test_a_budget_known_to_be_spent_is_told_before_the_stream(tmp_path: Path) -> None:
    async with open_api(build(budget_nanousd=1), tmp_path) as api:
        response = await api.route({"input": HARD, "stream": True})
    assert (response.status_code, response.json()["code"]) == (402, "budget_exceeded")


async def test_what_a_model_says_of_how_it_answered_is_told(tmp_path: Path) -> None:
    async with open_api(build(local=reply(notes={"dropped_turns": 2})), tmp_path) as api:
        answer = (await api.route({"input": "Hi!", "model": LOCAL})).json()
        other = (await api.route({"input": "Hi!", "model": PREMIUM})).json()
    assert answer["notes"] == {"dropped_turns": 2}
    assert "notes" not in other


# -- files ------------------------------------------------------------------------------------------


async def test_an_image_comes_as_base64_data_url_blob_or_upload(api: Api) -> None:
    encoded = base64.b64encode(PNG).decode()
    blob = (await api.client.post("/blobs", content=PNG)).json()
    assert (blob["content_type"], blob["bytes"]) == ("image/png", 16)
    for given in ({"data": encoded}, {"data": f"data:image/png;base64,{encoded}"}, {"blob": blob["id"]}):
        answer = (await api.route({"task": "ocr", "input": given})).json()
        assert answer["output"] == ["image/png 16"], given
    uploaded = await api.client.post(
        "/route", data={"task": "ocr"}, files=[("file", ("a.bin", PNG)), ("file", ("b.bin", PNG))]
    )
    assert uploaded.json()["output"] == ["image/png 16", "image/png 16"]


async def test_a_form_carries_the_whole_request_and_a_chat_its_images(api: Api) -> None:
    request = json.dumps({"input": "What is in this picture?", "options": {"max_tokens": 50}})
    response = await api.client.post("/route", data={"request": request}, files={"file": ("a.png", PNG)})
    assert response.status_code == 200, response.text
    call = next(call for provider in api.house.providers.values() for call in provider.calls)
    assert (call.messages[0].content, call.max_tokens) == ("What is in this picture?", 50)
    assert call.messages[0].images[0].data == PNG


@pytest.mark.parametrize(
    ("form", "files", "field"),
    [
        ({"task": "ocr"}, False, "file"),
        ({"request": "{"}, True, "request"),
        ({"request": "[]"}, True, "request"),
        ({"request": '{"metadata": ' + '{"a":' * 300 + "1" + "}" * 301}, True, "request"),
        ({"task": "sing"}, True, "task"),
        ({"task": "ocr", "colour": "red"}, True, "colour"),
        ({"task": "embed", "input": "x"}, True, "input"),
    ],
)
async def test_a_wrong_form_names_its_field(api: Api, form: dict[str, str], files: bool, field: str) -> None:
    parts: Any = [("file", ("a.png", PNG))] if files else [("other", ("a.png", PNG))]
    response = await api.client.post("/route", data=form, files=parts)
    assert (response.status_code, response.json()["field"]) == (422, field), response.text


async def test_a_form_without_boundary_is_told(api: Api) -> None:
    headers = {"content-type": "multipart/form-data"}
    response = await api.client.post("/route", content=b"x", headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


async def test_a_blob_nobody_uploaded_is_a_404(api: Api) -> None:
    response = await api.route({"task": "ocr", "input": {"blob": "none"}})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_an_empty_blob_is_refused(api: Api) -> None:
    response = await api.client.post("/blobs", content=b"")
    assert (response.status_code, response.json()["field"]) == (422, "body")


# -- the log, per tenant ----------------------------------------------------------------------------


async def test_an_inference_is_found_by_answer_and_by_attempt(api: Api) -> None:
    answer = (await api.route({"input": HARD})).json()
    for wanted in (answer["id"], answer["why"]["attempts"][0]["id"]):
        story = (await api.client.get(f"/inferences/{wanted}")).json()
        assert (story["id"], story["cost_nanousd"], len(story["attempts"])) == (answer["id"], 220_000, 1)


async def test_a_key_never_sees_another_tenants_rows(api: Api) -> None:
    mine, yours = await api.key("a", "acme", "operator"), await api.key("b", "bolt", "operator")
    answer = (await api.route({"input": HARD}, headers=mine)).json()

    async def read(path: str, headers: dict[str, str]) -> Any:
        return (await api.client.get(path, headers=headers)).json()

    assert [row["request_id"] for row in (await read("/inferences", mine))["inferences"]] == [answer["id"]]
    assert (await read("/inferences", yours))["inferences"] == []
    assert (await read("/stats", mine))["cost_nanousd"] == 220_000
    assert (await read("/stats", yours)) | {"since": ""} == {
        "since": "",
        "models": [],
        "cost_nanousd": 0,
        "cost_usd": "0.000000000",
    }
    assert (await read(f"/inferences/{answer['id']}", yours))["code"] == "not_found"
    assert (await read(f"/inferences/{answer['id']}", mine))["cost_nanousd"] == 220_000
    admin = await api.key("c", "bolt", "admin")
    assert len((await read("/inferences", admin))["inferences"]) == 1
    assert (await read("/stats", admin))["cost_nanousd"] == 220_000


async def test_a_tenant_sees_the_global_budget_and_its_own(api: Api) -> None:
    for name in ("acme", "bolt"):
        await api.client.put(f"/budgets/{name}", json={"limit_usd": "1.50"}, headers=as_role("admin"))
    mine = await api.key("a", "acme", "viewer")
    seen = (await api.client.get("/budgets", headers=mine)).json()["budgets"]
    assert [(budget["name"], budget["limit_nanousd"]) for budget in seen] == [
        ("global", 200_000_000_000),
        ("acme", 1_500_000_000),
    ]
    everything = (await api.client.get("/budgets", headers=as_role("admin"))).json()["budgets"]
    assert [budget["name"] for budget in everything] == ["global", "acme", "bolt"]


async def test_the_log_pages_newest_first(api: Api) -> None:
    ids = [(await api.route({"input": "Hi"})).json()["why"]["attempts"][0]["id"] for _ in range(3)]
    newest = (await api.client.get("/inferences?limit=2")).json()["inferences"]
    assert [row["id"] for row in newest] == [ids[2], ids[1]]
    later = (await api.client.get(f"/inferences?after={ids[1]}")).json()["inferences"]
    assert [row["id"] for row in later] == [ids[2]]


async def test_stats_add_up_to_the_log(api: Api) -> None:
    for text in ("Hi", HARD, HARD):
        await api.route({"input": text})
    stats = (await api.client.get("/stats")).json()
    assert {(row["model_id"], row["attempts"], row["cost_nanousd"]) for row in stats["models"]} == {
        (LOCAL, 1, 0),
        (PREMIUM, 2, 440_000),
    }
    assert stats["cost_usd"] == "0.000440000"


# -- models, budgets, settings, health --------------------------------------------------------------


async def test_models_say_whether_they_can_be_called_and_what_is_missing(api: Api) -> None:
    models = {m["id"]: m for m in (await api.client.get("/models?task=generate")).json()["models"]}
    assert (models[PREMIUM]["available"], models[PREMIUM]["missing"]) == (True, None)
    assert models["phi-2"]["missing"] == "phi-2 is away; fetch it"
    assert "vader" not in models
    local = (await api.client.get("/models?task=generate&tier=local")).json()["models"]
    assert {model["tier"] for model in local} == {"local"}
    card = (await api.client.get("/models/claude-sonnet")).json()
    assert (card["card"]["prices"][0]["input_nanousd"], card["provider"]) == (2_000_000_000, "anthropic")


async def test_a_model_whose_last_try_failed_is_not_shown_as_available_and_is_routed_to_all_the_same(api: Api) -> None:
    failed = "loading minilm-l6-builtin failed; the next request tries again (failed 1 times)"
    api.house.fleet.known["minilm-l6-builtin"] = {"failed": failed}
    shown = (await api.client.get("/models/minilm-l6-builtin")).json()
    assert (shown["available"], shown["missing"]) == (False, failed)
    (listed,) = [
        m for m in (await api.client.get("/models?task=embed")).json()["models"] if m["id"] == "minilm-l6-builtin"
    ]
    assert (listed["available"], listed["missing"]) == (False, failed)
    answer = await api.client.post("/models/infer", json={"model_id": "minilm-l6-builtin", "input": "Hi"})
    assert answer.status_code == 200


async def test_a_budget_set_over_the_api_holds_at_once(api: Api) -> None:
    put = await api.client.put("/budgets/global", json={"limit_usd": "0.000001"}, headers=as_role("admin"))
    assert put.json()["limit_nanousd"] == 1_000
    assert (await api.route({"input": HARD})).status_code == 402
    wrong = await api.client.put("/budgets/global", json={"limit_usd": -1}, headers=as_role("admin"))
    assert (wrong.status_code, wrong.json()["field"]) == (422, "limit_usd")


async def test_a_setting_changes_while_it_runs_and_null_takes_it_back(tmp_path: Path) -> None:
    house = build()
    async with open_api(house, tmp_path) as api:
        live = LiveSettings(api.state.settings, api.state.settings.over, house.overrides.all)
        object.__setattr__(house.deps, "live_limits", limits_of(live))
        put = await api.client.put(
            "/settings/default_strategy", json={"value": "premium_only"}, headers=as_role("admin")
        )
        assert put.json() == {"name": "default_strategy", "value": "premium_only"}
        listed = (await api.client.get("/settings", headers=as_role("admin"))).json()
        assert listed["settings"] == {"default_strategy": "premium_only"}
        assert "default_max_tokens" in listed["changeable"]
        await live._read()
        assert (await api.route({"input": "Hi"})).json()["model"] == PREMIUM
        assert (await api.route({"input": "Hi", "strategy": "local_only"})).json()["model"] == LOCAL
        await api.client.put("/settings/default_strategy", json={"value": None}, headers=as_role("admin"))
        await live._read()
        assert (await api.route({"input": "Hi"})).json()["model"] == LOCAL


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("default_strategy", "cheapest", "setting default_strategy from the settings table is 'cheapest'"),
        ("call_timeout_s", -1, "setting call_timeout_s from the settings table is -1"),
        ("text_retention_days", "many", "setting text_retention_days from the settings table is 'many'"),
        ("port", 80, "'port' cannot be changed while running; these can: call_timeout_s, default_max_tokens"),
        ("database_url", "x", "'database_url' cannot be changed while running"),
    ],
)
async def test_a_wrong_setting_is_refused_and_not_kept(api: Api, name: str, value: object, said: str) -> None:
    response = await api.client.put(f"/settings/{name}", json={"value": value}, headers=as_role("admin"))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_config")
    assert response.json()["detail"].startswith(said)
    assert await api.house.overrides.all() == {}


async def test_live_and_ready_tell_of_health(api: Api) -> None:
    assert (await api.client.get("/health/live")).json() == {"status": "live"}
    ready = await api.client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["checks"]["memory"]["ok"] is True


async def test_every_reference_of_the_openapi_document_resolves(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    references = {
        part["$ref"] for part in walk(document) if isinstance(part, dict) and isinstance(part.get("$ref"), str)
    }
    assert {"#/components/schemas/RouteBody", "#/components/schemas/MessageBody"} <= references
    for reference in references:
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
        assert part
    assert set(document["paths"]) >= {"/route", "/models", "/inferences/{inference_id}", "/stats", "/health/ready"}


def walk(part: Any) -> Any:
    yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from walk(inner)


async def test_a_refused_key_of_one_provider_falls_back_to_the_next(tmp_path: Path) -> None:
    house = build(local=CallRefused("no weights"), mid=reply("From DeepSeek."))
    async with open_api(house, tmp_path) as api:
        answer = (await api.route({"input": "Hi"})).json()
    assert (answer["model"], answer["output"]) == (MID, "From DeepSeek.")
