"""An explanation holds everything that decided, for every kind of choice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.core.contract.certificate import Certificate, Contract, State
from orchestrator.core.errors import NoModelAvailable, NotEligible
from orchestrator.core.routing.asking import asked_of, candidates, seen
from orchestrator.core.routing.explain import explanation
from orchestrator.core.routing.plan import choose
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Constraints, Request, Strategy
from registry.load import load
from registry.schema import Tier
from tests.samples import request

AT = datetime(2026, 11, 20, tzinfo=UTC)
UP = frozenset({"llama-3.2-1b-instruct", "deepseek-chat", "claude-sonnet", "gpt-4o", "claude-opus-5-5"})
AWAY = {card: "its key is not set" for card in load().cards if card not in UP}


def explained(
    asked_for: Request, policy: RoutingPolicy | None = None, away: dict[str, str] | None = None
) -> dict[str, Any]:
    chosen, registry = policy or RoutingPolicy(), load()
    known = seen(asked_for, shipped_predictor())
    missing = AWAY if away is None else away
    asked = asked_of(known, chosen, candidates(asked_for, chosen, registry), missing, AT)
    try:
        return explanation(asked, choose(asked, chosen, registry), chosen, registry)
    except (NotEligible, NoModelAvailable) as refusal:
        return explanation(asked, None, chosen, registry, refusal)


def by_model(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["model"]: one for one in told["candidates"]}


def test_every_feature_comes_with_what_it_means() -> None:
    told = explained(request("Create a FastAPI server"))
    features = {one["name"]: one for one in told["features"]}
    assert features["code"]["value"] == 1.0
    assert features["code"]["meaning"].startswith("how much it asks for or shows code")
    assert all(one["meaning"] for one in told["features"])
    assert len(features) == 17


def test_the_candidates_say_why_and_why_not() -> None:
    told = by_model(explained(request("What is the capital of France?")))
    assert (told["llama-3.2-1b-instruct"]["standing"], told["llama-3.2-1b-instruct"]["why_not"]) == ("in_plan", None)
    assert told["llama-3.2-1b-instruct"]["ability_from"] == "its tier's stated 0.45"
    assert told["gpt-4o"]["why_not"] == "not on the policy's ladder for simple"
    assert told["claude-opus-5-5"]["why_not"] == "no ladder of the policy leads to it; a request may name it"
    assert told["claude-haiku-5-5"]["why_not"] == "its key is not set"
    assert told["claude-haiku-5-5"]["standing"] == "away"


def test_a_constraint_that_rules_a_model_out_is_its_reason() -> None:
    told = by_model(explained(request("Hi!", strategy=Strategy.LOCAL_ONLY)))
    assert told["claude-sonnet"]["standing"] == "refused"
    assert told["claude-sonnet"]["why_not"].startswith("tier premium is excluded by strategy local_only")


def test_the_plans_stand_with_the_target_they_had_to_reach() -> None:
    told = explained(request("What is the capital of France?"))
    chosen = [plan for plan in told["plans"] if plan["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["enough"] is True
    assert chosen[0]["quality"] >= told["target"]["quality"]
    assert told["target"]["why"] == "the best plan's quality less 20%, for this class"
    cheaper = told["plans"][: told["plans"].index(chosen[0])]
    assert all(not plan["enough"] for plan in cheaper)  # the cheapest that is enough is the one that is taken
    assert told["predicted"]["quality"] == chosen[0]["quality"]


def test_the_quality_a_request_asks_for_is_the_target() -> None:
    told = explained(request("What is the capital of France?", constraints=Constraints(min_quality=0.9)))
    assert told["target"]["quality"] == 0.9
    assert told["target"]["why"] == "asked by constraints.quality"


def test_a_contract_is_told_as_it_stands() -> None:
    predictor = shipped_predictor()
    certificate = Certificate(state=State.UNCERTIFIED, threshold=-inf, epsilon=0.05, delta=0.1, n=40, more_labels=300)
    contract = Contract(
        task_class="support",
        weak="llama-3.2-1b-instruct",
        reference="claude-sonnet",
        scorer=predictor.version,
        certificate=certificate,
        certified_at=AT,
    )
    told = explained(request("Hi!", task_class="support"), RoutingPolicy(contracts=(contract,)))
    assert told["plan"][0]["model"] == "claude-sonnet"
    assert (told["contract"]["state"], told["contract"]["more_labels"]) == ("uncertified", 300)
    assert told["contract"]["score"] == round(predictor.read("Hi!").gain, 6)
    assert told["target"] is None
    assert len(told["plans"]) == 1


def test_where_nobody_may_answer_the_candidates_still_say_why() -> None:
    told = explained(request("Hi!", constraints=Constraints(tiers=frozenset({Tier.BUILTIN}))))
    assert told["refused"]["code"] == "not_eligible"
    assert (told["plan"], told["plans"], told["predicted"]) == ([], [], None)
    assert told["complexity"] == "simple"
    assert by_model(told)["gpt-4o"]["why_not"].startswith("tier premium is excluded")


def test_with_no_key_at_all_each_model_says_what_would_make_it_available() -> None:
    told = explained(request("Hi!"), away=dict.fromkeys(load().cards, "start its worker"))
    assert told["refused"]["code"] == "no_model_available"
    assert {one["why_not"] for one in told["candidates"]} == {"start its worker"}


def test_a_named_model_skips_routing_and_says_so() -> None:
    told = explained(request("Hi!", model="claude-opus-5-5"))
    assert [rung["model"] for rung in told["plan"]] == ["claude-opus-5-5"]
    assert by_model(told)["gpt-4o"]["why_not"] == "the request names another model"


@given(st.text(max_size=200), st.sampled_from(list(Strategy)), st.none() | st.floats(0, 1))
def test_any_request_is_explained_in_json_with_one_plan_chosen_or_a_refusal(
    text: str, strategy: Strategy, quality: float | None
) -> None:
    told = explained(request(text, strategy=strategy, constraints=Constraints(min_quality=quality)))
    json.dumps(told, allow_nan=False)
    assert (told["refused"] is None) == (sum(plan["chosen"] for plan in told["plans"]) == 1)
    for one in told["candidates"]:
        assert (one["why_not"] is None) == (one["standing"] == "in_plan")
