"""Every error leaves the API as problem+json with its status and its stable code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import errors
from orchestrator.core.types import Call, Reply
from orchestrator.http.problems import STATUS, problem, status_of
from tests.flow.house import BAD, LOCAL, PREMIUM, UP, build, reply
from tests.http.conftest import Api, as_role, bearer, open_api

TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
HARD = {"input": "Create a FastAPI server"}

RAISED: tuple[tuple[errors.PennyrouteError, int, str], ...] = (
    (errors.InvalidInput("x", field="input"), 422, "invalid_input"),
    (errors.BodyTooLarge("x"), 413, "body_too_large"),
    (errors.Unauthorized("x"), 401, "unauthorized"),
    (errors.Forbidden("x"), 403, "forbidden"),
    (errors.NotFound("x"), 404, "not_found"),
    (errors.ModelNotFound("x"), 404, "model_not_found"),
    (
        errors.BudgetExceeded(budget="global", limit_nanousd=2, used_nanousd=1, asked_nanousd=2, resets_at=None),
        402,
        "budget_exceeded",
    ),
    (errors.NoModelAvailable("x", candidates={}), 503, "no_model_available"),
    (errors.NotEligible("x", candidates={}), 422, "not_eligible"),
    (errors.Overloaded("x", retry_after_s=1), 429, "overloaded"),
    (errors.DeadlineExceeded("x"), 504, "deadline_exceeded"),
    (errors.LedgerUnavailable("x"), 503, "ledger_unavailable"),
    (errors.StoreUnavailable("x"), 503, "store_unavailable"),
    (errors.AllRungsFailed("x", attempts=[{"code": "provider_error"}]), 502, "all_rungs_failed"),
    (errors.AllRungsFailed("x", attempts=[{"code": "timeout"}, {"code": "timeout"}]), 504, "all_rungs_failed"),
    (errors.AllRungsFailed("x", attempts=[{"code": "rate_limited"}]), 503, "all_rungs_failed"),
    (errors.AllRungsFailed("x", attempts=[{"code": "invalid_input"}]), 422, "all_rungs_failed"),
    (errors.AllRungsFailed("x", attempts=[{"code": "timeout"}, {"code": "invalid_input"}]), 502, "all_rungs_failed"),
    (errors.CallBroken("x"), 502, "provider_error"),
    (errors.ConfigError("x"), 422, "invalid_config"),
    (errors.PennyrouteError("x"), 500, "internal"),
)


@pytest.mark.parametrize(("error", "status", "code"), RAISED, ids=[f"{type(e).__name__}-{s}" for e, s, _ in RAISED])
def test_an_error_has_its_status_and_code(error: errors.PennyrouteError, status: int, code: str) -> None:
    body = problem(error)
    assert (status_of(error), body["status"], body["code"]) == (status, status, code)
    assert body["type"] == f"urn:pennyroute:error:{code}"
    assert body["detail"] == error.message


def test_every_error_that_can_reach_a_caller_is_in_the_table() -> None:
    def kinds(root: type[errors.PennyrouteError]) -> set[type[errors.PennyrouteError]]:
        return {root}.union(*(kinds(child) for child in root.__subclasses__()))

    inner = kinds(errors.CallFailed) - {errors.CallBroken}  # flow ends these; only a cut stream passes through
    ours = {kind for kind in kinds(errors.PennyrouteError) - inner if kind.__module__ == errors.__name__}
    assert {kind for kind in ours if kind not in STATUS} == {errors.ModelNotFound}  # a NotFound like others


# -- as a caller meets them -------------------------------------------------------------------------


async def test_a_spent_budget_is_a_402_that_names_the_budget(tmp_path: Path) -> None:
    async with open_api(build(budget_nanousd=1_000), tmp_path) as api:
        response = await api.route(HARD)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["budget"]) == (402, "budget_exceeded", "global")
    assert (problem["limit_nanousd"], problem["used_nanousd"]) == (1_000, 0)


async def test_no_key_and_no_weights_is_a_503_that_says_what_to_do(tmp_path: Path) -> None:
    async with open_api(build(up=frozenset()), tmp_path) as api:
        response = await api.route({"input": "Hi"})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "no_model_available")
    assert problem["candidates"][PREMIUM] == "claude-sonnet is away; fetch it"


async def test_constraints_nobody_meets_are_a_422_with_a_reason_each(api: Api) -> None:
    response = await api.route({"input": "Hi", "strategy": "local_only", "options": {"tools": [TOOL]}})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "not_eligible")
    assert problem["candidates"][LOCAL] == "does not support tools"


async def test_an_unknown_model_is_a_404_that_names_the_nearest(api: Api) -> None:
    response = await api.route({"input": "Hi", "model": "claude-sonet"})
    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")
    assert "did you mean 'claude-sonnet'" in response.json()["detail"]


async def test_when_every_model_fails_the_502_tells_each_attempt(tmp_path: Path) -> None:
    house = build(premium=errors.CallBroken("bad gateway"), up=frozenset({PREMIUM}))
    async with open_api(house, tmp_path) as api:
        response = await api.route(HARD)
    assert (response.status_code, response.json()["code"]) == (502, "all_rungs_failed")
    assert [a["code"] for a in response.json()["attempts"]] == ["provider_error", "provider_error"]


async def test_without_a_ledger_a_paid_request_is_a_503(api: Api) -> None:
    api.house.ledger.down = True
    response = await api.route(HARD)
    assert (response.status_code, response.json()["code"]) == (503, "ledger_unavailable")


async def test_a_deadline_that_passed_is_a_504(tmp_path: Path) -> None:
    async def late(call: object) -> Exception:
        house.clock.advance(31)
        return errors.CallTimedOut("30 s")

    house = build(premium=late)
    async with open_api(house, tmp_path) as api:
        response = await api.route({**HARD, "constraints": {"deadline_ms": 30_000}})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


async def test_above_its_permits_the_api_refuses_before_any_work(tmp_path: Path) -> None:
    async with open_api(build(), tmp_path, max_concurrency=1) as api:
        api.state.in_work = 1
        response = await api.route({"input": "Hi"})
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        assert response.json()["code"] == "overloaded"
        api.state.in_work = 0
        assert (await api.route({"input": "Hi"})).status_code == 200
        assert api.state.in_work == 0


async def test_a_bug_is_a_500_without_its_inner_words(tmp_path: Path) -> None:
    def stumble(call: Call) -> Reply:
        raise KeyError("secret")

    house = build(premium=stumble, up=UP - {LOCAL})
    async with open_api(house, tmp_path) as api:
        response = await api.route(HARD)
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/route", 405, "method_not_allowed"),
        ("GET", "/models/none", 404, "model_not_found"),
        ("GET", "/inferences/none", 422, "invalid_input"),
        ("GET", "/inferences/ffffffff-ffff-7fff-bfff-ffffffffffff", 404, "not_found"),
        ("GET", "/inferences?limit=0", 422, "invalid_input"),
        ("GET", "/inferences?after=none", 422, "invalid_input"),
        ("GET", "/stats?days=0", 422, "invalid_input"),
        ("GET", "/stats?days=nan", 422, "invalid_input"),
        ("GET", "/stats?days=1e999", 422, "invalid_input"),
        ("GET", "/models?task=sing", 422, "invalid_input"),
        ("PUT", "/settings/port", 422, "invalid_config"),
        ("PUT", "/budgets/a%00b", 422, "invalid_input"),
    ],
)
async def test_paths_and_parameters_fail_as_problems_too(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    response = await api.client.request(method, path, headers=as_role("admin"), json={"value": 1})
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"


# -- who asks ---------------------------------------------------------------------------------------

ENDPOINTS: tuple[tuple[str, str, str, Any], ...] = (
    ("POST", "/route", "operator", {"input": "Hi"}),
    ("POST", "/models/infer", "operator", {"model_id": LOCAL, "input": "Hi"}),
    ("POST", "/embeddings/search", "operator", {"query": "Hi"}),
    ("POST", "/blobs", "operator", {"any": "bytes"}),
    ("GET", "/models", "viewer", None),
    ("GET", f"/models/{LOCAL}", "viewer", None),
    ("GET", "/inferences", "viewer", None),
    ("GET", "/stats", "viewer", None),
    ("GET", "/budgets", "viewer", None),
    ("PUT", "/budgets/global", "admin", {"limit_usd": 5}),
    ("GET", "/settings", "admin", None),
    ("PUT", "/settings/store_texts", "admin", {"value": False}),
)


@pytest.mark.parametrize(("method", "path", "needs", "body"), ENDPOINTS, ids=[f"{m} {p}" for m, p, *_ in ENDPOINTS])
async def test_each_endpoint_asks_for_a_key_of_its_role(
    api: Api, method: str, path: str, needs: str, body: object
) -> None:
    async def status(headers: dict[str, str]) -> int:
        api.client.headers.pop("authorization", None)
        return (await api.client.request(method, path, headers=headers, json=body)).status_code

    assert await status({}) == 401
    assert await status(bearer("wrong")) == 401
    assert await status({"authorization": "Basic key-admin"}) == 401
    roles = ("viewer", "operator", "admin")
    for role in roles:
        expected = 403 if roles.index(role) < roles.index(needs) else 201 if path == "/blobs" else 200
        assert await status(as_role(role)) == expected, role
    assert await status({"x-api-key": "key-admin"}) in (200, 201)


async def test_who_has_no_key_is_told_where_it_lies(api: Api) -> None:
    response = await api.client.post("/route", json={"input": "Hi"}, headers={"authorization": ""})
    assert response.headers["www-authenticate"] == "Bearer"
    assert "send `Authorization: Bearer <key>`" in response.json()["detail"]


async def test_health_and_docs_need_no_key(api: Api) -> None:
    api.client.headers.pop("authorization")
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert (await api.client.get(path)).status_code == 200, path


async def test_a_poor_answer_is_still_an_answer(tmp_path: Path) -> None:
    async with open_api(build(local=reply(BAD), up=frozenset({LOCAL})), tmp_path) as api:
        answer = (await api.route({"input": "Hi"})).json()
    assert (answer["quality_score"], answer["output"]) == (0.2, BAD)
