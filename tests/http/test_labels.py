"""`POST /labels` and `GET /contracts` as an app's backend uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.core.contract.certificate import Certificate, Contract, State
from orchestrator.core.routing.policy import RoutingPolicy
from tests.flow.house import LOCAL, PREMIUM, build
from tests.http.conftest import Api, as_role, open_api
from tests.samples import new_id

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def contract(task_class: str = "support", state: State = State.MET, **changes: Any) -> Contract:
    values: dict[str, Any] = {"state": state, "threshold": inf, "epsilon": 0.05, "delta": 0.1, "n": 500}
    return Contract(
        task_class=task_class,
        weak=LOCAL,
        reference=PREMIUM,
        scorer=shipped_predictor().version,
        certificate=Certificate(**{**values, "weak_share": 1.0, "margin": 0.02, **changes}),
        certified_at=NOON,
    )


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    waiting = contract("essay", State.UNCERTIFIED, threshold=-inf, weak_share=0.0, margin=0.0, more_labels=430)
    policy = RoutingPolicy(contracts=(contract(), waiting))
    async with open_api(build(policy=policy), tmp_path) as opened:
        yield opened


async def label(api: Api, **body: Any) -> Any:
    return await api.client.post("/labels", json=body)


async def asked(api: Api) -> str:
    answer = (await api.route({"input": "How do I return a shoe?", "task_class": "support"})).json()
    return str(answer["id"])


async def test_a_label_of_an_answer_is_kept_and_says_how_its_contract_stands(api: Api) -> None:
    request_id = await asked(api)
    response = await label(api, request_id=request_id, outcomes={LOCAL: 0.0, PREMIUM: 1.0})
    told = response.json()
    assert response.status_code == 201
    assert (told["new"], told["task_class"], told["request_id"], told["served"]) == (True, "support", request_id, LOCAL)
    assert told["contract"]["state"] == "met"
    assert told["contract"]["watch"]["rows"] == 1
    assert told["contract"]["watch"]["wealth"] == pytest.approx(1.0)
    (kept,) = await api.house.deps.labels.of_class("default", "support")
    assert (str(kept.id), kept.text) == (told["id"], "How do I return a shoe?")


async def test_a_label_sent_again_with_its_id_is_answered_200_and_counts_once(api: Api) -> None:
    body = {"id": str(new_id()), "task_class": "support", "text": "Hi!", "outcomes": {LOCAL: 1.0}}
    first, again = await label(api, **body), await label(api, **body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["new"], again.json()["new"]) == (True, False)
    assert len(await api.house.deps.labels.of_class(None, "support")) == 1


async def test_models_are_kept_by_the_ids_of_their_cards(api: Api) -> None:
    alias, model = next(iter(api.house.deps.fleet.registry().by_alias.items()))
    assert (await label(api, task_class="support", outcomes={alias: 0.5})).status_code == 201
    (kept,) = await api.house.deps.labels.of_class(None, "support")
    assert dict(kept.outcomes) == {model: 0.5}
    twice = await label(api, task_class="support", outcomes={alias: 0.5, model: 1.0})
    assert twice.status_code == 422


async def test_any_key_labels_for_its_own_tenant_and_without_a_key_nobody_does(api: Api) -> None:
    viewer = await api.key("theirs", "rival", "viewer")
    body = {"task_class": "support", "outcomes": {LOCAL: 1.0}}
    assert (await api.client.post("/labels", json=body, headers=viewer)).status_code == 201
    assert [each.tenant for each in await api.house.deps.labels.of_class(None, "support")] == ["rival"]
    assert (await api.client.post("/labels", json=body, headers={"authorization": ""})).status_code == 401
    request_id = await asked(api)
    theirs = await api.client.post("/labels", json={**body, "request_id": request_id}, headers=viewer)
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"task_class": "support"}, "outcomes"),
        ({"task_class": "support", "outcomes": {}}, "outcomes"),
        ({"task_class": "support", "outcomes": {LOCAL: 2}}, f"outcomes.{LOCAL}"),
        ({"task_class": "support", "outcomes": {"claude-sonet": 1}}, "outcomes.claude-sonet"),
        ({"outcomes": {LOCAL: 1}}, "task_class"),
        ({"task_class": "support", "outcomes": {LOCAL: 1}, "inclusion": 0}, "inclusion"),
        ({"task_class": "support", "outcomes": {LOCAL: 1}, "tenant": "rival"}, "tenant"),
        ({"request_id": "7", "outcomes": {LOCAL: 1}}, "request_id"),
    ],
)
async def test_a_wrong_label_is_a_problem_that_names_the_field(api: Api, body: dict[str, Any], field: str) -> None:
    response = await label(api, **body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["field"] == field


async def test_every_contract_tells_its_promise_its_standing_and_its_watch(api: Api) -> None:
    await label(api, request_id=await asked(api), outcomes={LOCAL: 1.0, PREMIUM: 1.0})
    response = await api.client.get("/contracts", headers=as_role("viewer"))
    support, essay = response.json()["contracts"]
    assert support["promise"] == f"at least 95.0% of {PREMIUM}'s quality on support, with probability 90%"
    assert support["standing"] == f"met: {LOCAL} may answer about 100% of requests"
    assert (support["n"], support["weak_share"], support["threshold"]) == (500, 1.0, None)
    assert support["watch"]["rows"] == 1
    assert support["watch"]["revokes_at"] == pytest.approx(10)
    assert (essay["state"], essay["more_labels"], essay["watch"]) == ("uncertified", 430, None)
    assert essay["standing"] == f"uncertified: about 430 more labels; until then {PREMIUM} answers"


async def test_a_contract_that_labels_refute_is_told_as_revoked(api: Api) -> None:
    for _ in range(60):
        told = (await label(api, request_id=await asked(api), outcomes={LOCAL: 0.0, PREMIUM: 1.0})).json()
        if told["contract"] is None:
            break
        state = told["contract"]["state"]
    assert state == "revoked"
    support, _ = (await api.client.get("/contracts")).json()["contracts"]
    assert support["standing"] == f"revoked: live labels or an operator refuted it; {PREMIUM} answers"
    assert support["watch"]["revoked"]
    assert support["watch"]["wealth"] >= 10
