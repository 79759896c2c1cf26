"""`POST /explain`: the body of `/route`, answered without a call and without a cent."""

from __future__ import annotations

from pathlib import Path

from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.rules import Rule
from orchestrator.core.types import Strategy
from orchestrator.ports import Label
from tests.flow.house import LOCAL, MID, PREMIUM, build
from tests.http.conftest import Api, as_role, open_api
from tests.samples import new_id


async def test_it_tells_what_route_then_does(api: Api) -> None:
    for text in ("Hi!", "Create a FastAPI server", "Write a haiku about rain."):
        told = (await api.client.post("/explain", json={"input": text})).json()
        answer = (await api.route({"input": text})).json()
        assert told["plan"][0]["model"] == answer["why"]["attempts"][0]["model"]
        assert told["reason"] == answer["why"]["reason"]
        assert told["policy"]["version"] == answer["why"]["policy_version"]
        assert told["predicted"] == answer["why"]["predicted"]


async def test_no_model_is_called_and_nothing_is_spent(api: Api) -> None:
    for text in ("Hi!", "Prove that there are infinitely many primes.", "Write the press release."):
        assert (await api.client.post("/explain", json={"input": text})).status_code == 200
    assert api.house.called() == []
    assert await api.house.money() == (0, 0)
    assert api.house.rows() == []


async def test_a_refusal_is_explained_too(api: Api) -> None:
    body = {"input": "Hi!", "constraints": {"quality": 1.0}}
    told = await api.client.post("/explain", json=body)
    assert told.status_code == 200
    assert told.json()["refused"]["code"] == "not_eligible"
    assert (await api.route(body)).json()["code"] == "not_eligible"


async def test_what_route_refuses_to_read_explain_refuses_too(api: Api) -> None:
    assert (await api.client.post("/explain", json={"imput": "Hi!"})).json()["code"] == "invalid_input"
    assert (await api.client.post("/explain", json={"input": "Hi!", "model": "gpt-9"})).json()[
        "code"
    ] == "model_not_found"
    assert (await api.client.post("/explain", json={"input": "Hi!"}, headers=as_role("viewer"))).status_code == 403


async def test_a_task_that_nobody_scores_is_explained_by_its_order(api: Api) -> None:
    told = (await api.client.post("/explain", json={"task": "sentiment", "input": "Lovely!"})).json()
    assert told["plan"][0]["model"] == "vader"
    assert (told["features"], told["reading"]) == ([], None)


async def test_the_operators_rule_and_past_prompts_show(tmp_path: Path) -> None:
    rule = Rule(name="no-mid", strategy=Strategy.HYBRID)
    house = build(policy=RoutingPolicy(rules=(rule,)))
    text = "Compare renting and buying a flat and discuss the trade-offs."
    label = Label(id=new_id(), tenant="default", task_class="medium", outcomes={MID: 0.0, PREMIUM: 1.0}, text=text)
    await house.deps.neighbours.learn("default", label)
    async with open_api(house, tmp_path) as api:
        told = (await api.client.post("/explain", json={"input": text})).json()
    assert told["rule"] == "no-mid"
    assert told["target"]["close"]
    assert told["neighbours"] == [{"similarity": 1.0, "outcomes": {MID: 0.0, PREMIUM: 1.0}}]
    assert told["complexity"] == "medium"


async def test_the_local_model_that_is_away_says_how_to_get_it(tmp_path: Path) -> None:
    async with open_api(build(up=frozenset({PREMIUM})), tmp_path) as api:
        told = (await api.client.post("/explain", json={"input": "Hi!"})).json()
    away = {one["model"]: one for one in told["candidates"]}[LOCAL]
    assert (away["standing"], away["why_not"]) == ("away", f"{LOCAL} is away; fetch it")


async def test_a_streamed_request_is_explained_as_one(api: Api) -> None:
    """What is said cannot be unsaid, so a stream has no second model to go on to."""
    text = "Compare renting and buying a flat and discuss the trade-offs."
    plain, streamed = [
        (await api.client.post("/explain", json={"input": text, "stream": stream})).json() for stream in (False, True)
    ]
    assert sum(not rung["fallback"] for rung in plain["plan"]) == 2
    assert sum(not rung["fallback"] for rung in streamed["plan"]) == 1


async def test_it_is_described_among_the_endpoints(api: Api) -> None:
    described = (await api.client.get("/openapi.json")).json()
    assert "post" in described["paths"]["/explain"]


async def test_a_spent_budget_is_explained_and_told_of_each_model(tmp_path: Path) -> None:
    async with open_api(build(budget_nanousd=0), tmp_path) as api:
        told = await api.client.post("/explain", json={"input": "Create a FastAPI server"})
        routed = await api.route({"input": "Create a FastAPI server"})
    assert (told.status_code, told.json()["refused"]["code"]) == (200, "budget_exceeded")
    why = {each["model"]: each["why_not"] for each in told.json()["candidates"]}
    assert why[PREMIUM].endswith("and budget 'global' has $0.00 left")
    assert routed.status_code == 402


async def test_an_ability_learned_for_a_class_is_told_as_such(tmp_path: Path) -> None:
    policy = RoutingPolicy(abilities={LOCAL: 0.5}, topics={"support": {LOCAL: -2.0}})
    async with open_api(build(policy=policy), tmp_path) as api:
        ours = (await api.client.post("/explain", json={"input": "Hi!", "task_class": "support"})).json()
        other = (await api.client.post("/explain", json={"input": "Hi!"})).json()
    (mine,) = [each["ability_from"] for each in ours["candidates"] if each["model"] == LOCAL]
    (usual,) = [each["ability_from"] for each in other["candidates"] if each["model"] == LOCAL]
    assert (mine, usual) == ("learned from labels of support", "learned from labels")


async def test_a_language_model_that_may_classify_is_among_the_candidates(api: Api) -> None:
    body = {"task": "classify", "input": "It crashed.", "options": {"labels": ["bug", "praise"]}}
    told = (await api.client.post("/explain", json=body)).json()
    assert told["plan"][0]["model"] == "minilm-l6-builtin"
    assert LOCAL in [each["model"] for each in told["candidates"]]
    assert PREMIUM not in [each["model"] for each in told["candidates"]]
