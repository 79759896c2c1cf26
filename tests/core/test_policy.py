"""Plans: who is eligible, in which order, and that no score makes an ineligible model chosen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import ConfigError, ModelNotFound, NoModelAvailable, NotEligible
from orchestrator.core.reading.features import read
from orchestrator.core.reading.predict import Reading
from orchestrator.core.routing.eligible import eligible
from orchestrator.core.routing.plan import Asked, choose
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import Read, difficulty, read_as, score
from orchestrator.core.types import (
    Complexity,
    Constraints,
    Media,
    Message,
    Options,
    Plan,
    Request,
    Score,
    Strategy,
)
from registry.pricing import UnpricedModel
from registry.schema import Billing, Capability, Task, Tier
from tests.flow.house import CREATIVE, LOCAL, MID, PREMIUM, registry
from tests.samples import request

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOOL = {"name": "get_weather", "description": "", "parameters": {"type": "object", "properties": {}}}
GENERATE = registry().for_task(Task.GENERATE)
ALL = frozenset(card.id for card in GENERATE)
CORE = frozenset({LOCAL, MID, PREMIUM, CREATIVE})
HARD = "Create a FastAPI server"


NEUTRAL = Reading(ease=0.0, reach=0.0)


def scored(asked: Request, up: frozenset[str], policy: RoutingPolicy) -> tuple[Read, dict[str, Score]]:
    told = read_as(read(asked), NEUTRAL, "s1", policy)
    scores: dict[str, Score] = {}
    for card in GENERATE:
        if card.id in up:
            try:
                scores[card.id] = score(card, told, asked.options, policy, AT)
            except UnpricedModel:
                continue
    return told, scores


def plan(asked: Request, up: frozenset[str] = CORE, policy: RoutingPolicy | None = None) -> Plan:
    chosen = policy or RoutingPolicy()
    told, scores = scored(asked, up, chosen)
    down = {card.id: "away" for card in GENERATE if card.id not in up}
    return choose(Asked(request=asked, read=told, scores=scores, unavailable=down), chosen, registry()).plan


def test_what_is_missing_ends_with_one_full_stop() -> None:
    asked = request("Hi!")
    told, scores = scored(asked, frozenset(), RoutingPolicy())
    away = Asked(request=asked, read=told, scores=scores, unavailable=dict.fromkeys(ALL, "it has no weights here."))
    with pytest.raises(NoModelAvailable, match=r": it has no weights here; and \d+ more\. `pennyroute doctor`"):
        choose(away, RoutingPolicy(), registry())


def models(asked: Request, up: frozenset[str] = CORE) -> list[str]:
    return [rung.model_id for rung in plan(asked, up).rungs]


# -- the named rules of the default policy ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi!", [LOCAL, MID, PREMIUM]),
        ("What is 2+2?", [LOCAL, MID, PREMIUM]),
        ("Summarize this text: The Nile is a river in Africa.", [LOCAL, MID, PREMIUM]),
        ("Compare renting and buying a flat and discuss the trade-offs.", [MID, PREMIUM]),
        (HARD, [PREMIUM, CREATIVE, MID]),
        ("Write a haiku about rain.", [CREATIVE, PREMIUM]),
        ("Write the press release for our product launch.", [PREMIUM, CREATIVE]),
    ],
)
def test_each_class_has_its_ladder(text: str, expected: list[str]) -> None:
    assert models(request(text)) == expected


@pytest.mark.parametrize("text", ["Hi!", "What is 2+2?", "Summarize this text: short.", HARD, "Write a haiku."])
def test_any_request_with_tools_goes_to_a_premium_model_that_has_them(text: str) -> None:
    rungs = models(request(text, options=Options(tools=(TOOL,))))
    assert rungs == [PREMIUM, CREATIVE]
    assert all(Capability.TOOLS in registry().get(model).capabilities for model in rungs)


@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_a_forced_tool_choice_passes_over_models_that_refuse_it(choice: str) -> None:
    assert models(request("Hi!", options=Options(tools=(TOOL,), tool_choice=choice))) == [CREATIVE]


def test_images_go_only_to_models_that_see() -> None:
    shown = Message(role="user", content="What is this?", images=(Media(content_type="image/png", data=b"x"),))
    rungs = models(request(messages=(shown,)))
    assert LOCAL not in rungs
    assert all(Capability.VISION in registry().get(model).capabilities for model in rungs)


def test_what_does_not_fit_a_context_is_passed_over() -> None:
    book = "word " * 120_000  # about 150,000 tokens: more than GPT-4o's and Llama's 128k
    rungs = models(request(f"Create a FastAPI server from this:\n{book}"))
    assert rungs == [PREMIUM, MID]


@pytest.mark.parametrize(
    ("strategy", "text", "expected"),
    [
        (Strategy.LOCAL_ONLY, HARD, [LOCAL]),
        (Strategy.PREMIUM_ONLY, "Hi!", [PREMIUM]),
        (Strategy.PREMIUM_ONLY, "Write a haiku.", [CREATIVE, PREMIUM]),
        (Strategy.LOCAL_FALLBACK, HARD, [PREMIUM, CREATIVE, LOCAL]),
        (Strategy.LOCAL_FALLBACK, "Hi!", [MID, PREMIUM, LOCAL]),
    ],
)
def test_a_strategy_decides_the_tiers(strategy: Strategy, text: str, expected: list[str]) -> None:
    assert models(request(text, strategy=strategy)) == expected


def test_local_fallback_without_local_weights_is_paid_alone() -> None:
    assert models(request("Hi!", strategy=Strategy.LOCAL_FALLBACK), CORE - {LOCAL}) == [MID, PREMIUM]


def test_when_nothing_of_the_ladder_is_there_the_best_of_the_rest_answers() -> None:
    assert models(request(HARD), frozenset({LOCAL})) == [LOCAL]


# -- constraints ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraints", "why"),
    [
        (
            Constraints(tiers=frozenset({Tier.BUILTIN})),
            "tier premium is excluded by strategy premium_only or",
        ),
        (Constraints(max_cost_nanousd=1), "over constraints.max_cost_usd"),
        (Constraints(deadline_ms=1), "over constraints.deadline_ms"),
        (Constraints(min_quality=0.999), "is under constraints.quality"),
    ],
)
def test_a_constraint_nobody_meets_says_why_for_each(constraints: Constraints, why: str) -> None:
    with pytest.raises(NotEligible) as refused:
        plan(request(HARD, constraints=constraints, strategy=Strategy.PREMIUM_ONLY), ALL)
    assert why in refused.value.details["candidates"][PREMIUM]


def test_a_deadline_leaves_out_only_what_would_miss_it_at_four_times_its_predicted_speed() -> None:
    # a high request: 800 expected tokens, predicted 400 + 15 * 800 = 12,400 ms at a provider
    assert PREMIUM in models(request(HARD, constraints=Constraints(deadline_ms=3_100)))
    with pytest.raises(NotEligible, match=r"far over constraints\.deadline_ms"):
        plan(request(HARD, constraints=Constraints(deadline_ms=3_099), strategy=Strategy.PREMIUM_ONLY), ALL)


def test_tiers_narrow_the_ladder() -> None:
    assert models(request(HARD, constraints=Constraints(tiers=frozenset({Tier.MID})))) == [MID]


def test_a_quality_asked_for_raises_the_threshold_of_every_rung() -> None:
    asked = request("Hi!", constraints=Constraints(min_quality=0.9))
    assert {rung.threshold for rung in plan(asked).rungs} == {0.9}
    assert {rung.threshold for rung in plan(request("Hi!")).rungs} == {0.5}


def test_a_model_that_does_not_speak_the_language_is_passed_over() -> None:
    korean = "안녕하세요, 오늘 날씨가 어떻습니까? 저는 서울에 살고 있습니다."
    assert models(request(korean)) == [MID, PREMIUM]
    assert models(request("Wie ist das Wetter in Berlin und was ist los?"))[0] == LOCAL


def test_where_the_data_may_lie_is_kept_or_refused() -> None:
    eu = Constraints(regions=frozenset({"eu"}))
    assert models(request("Hi!", constraints=eu)) == [LOCAL]
    with pytest.raises(NotEligible, match="where its provider keeps the data is not known"):
        plan(request("Hi!", constraints=eu, strategy=Strategy.PREMIUM_ONLY))


def test_tiers_that_exclude_each_other_leave_nobody() -> None:
    with pytest.raises(NotEligible, match="excluded by"):
        plan(request("Hi!", constraints=Constraints(tiers=frozenset())))


# -- named models -----------------------------------------------------------------------------------


def test_a_named_model_is_the_whole_plan_and_any_answer_of_it_is_accepted() -> None:
    named = plan(request("Hi!", model="claude-opus"), ALL)
    assert [(rung.model_id, rung.threshold) for rung in named.rungs] == [("claude-opus-5-5", 0.0)]


def test_a_named_model_is_not_ruled_out_by_what_is_only_predicted() -> None:
    named = request(HARD, model=PREMIUM, constraints=Constraints(deadline_ms=1, min_quality=1.0))
    assert models(named) == [PREMIUM]


def test_a_named_model_still_keeps_the_strategy() -> None:
    with pytest.raises(NotEligible, match="model 'claude-sonnet': tier premium is excluded by strategy local_only"):
        plan(request("Hi!", model=PREMIUM, strategy=Strategy.LOCAL_ONLY))


def test_a_named_model_that_is_away_says_how_to_get_it() -> None:
    with pytest.raises(NoModelAvailable, match="model 'claude-opus-5-5' cannot answer now: away"):
        plan(request("Hi!", model="claude-opus"), CORE)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(ModelNotFound, match="No model 'gpt-nine' in the registry"):
        plan(request("Hi!", model="gpt-nine"))


# -- properties -------------------------------------------------------------------------------------

REQUESTS = st.builds(
    lambda text, tools, choice, strategy, cost, deadline, quality, tiers: request(
        text,
        options=Options(tools=(TOOL,) if tools else (), tool_choice=choice if tools else None),
        strategy=strategy,
        constraints=Constraints(max_cost_nanousd=cost, deadline_ms=deadline, min_quality=quality, tiers=tiers),
    ),
    st.sampled_from(["Hi!", HARD, "Write a haiku.", "Prove it.", "word " * 40_000]),
    st.booleans(),
    st.sampled_from([None, "auto", "required"]),
    st.sampled_from(Strategy),
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(1, 60_000),
    st.none() | st.floats(0, 1),
    st.none() | st.frozensets(st.sampled_from(Tier), min_size=1),
)


def outcome(asked: Request, up: frozenset[str], scores: dict[str, Score], policy: RoutingPolicy) -> Plan | None:
    told = read_as(read(asked), NEUTRAL, "s1", policy)
    down = {card.id: "away" for card in GENERATE if card.id not in up}
    try:
        return choose(Asked(request=asked, read=told, scores=scores, unavailable=down), policy, registry()).plan
    except (NotEligible, NoModelAvailable):
        return None


@given(REQUESTS, st.frozensets(st.sampled_from(sorted(ALL))), st.data())
def test_an_ineligible_model_is_never_chosen_whatever_its_score(
    asked: Request, up: frozenset[str], data: st.DataObject
) -> None:
    policy = RoutingPolicy()
    told, scores = scored(asked, up, policy)
    for model in data.draw(st.lists(st.sampled_from(sorted(scores)), max_size=4)) if scores else ():
        scores[model] = replace(scores[model], p_adequate=data.draw(st.floats(0, 1)))
    chosen = outcome(asked, up, scores, policy)
    if chosen is None:
        return
    fit, _ = eligible(asked, told.features, GENERATE, scores)
    fitting = {card.id for card in fit}
    for rung in chosen.rungs:
        card = registry().get(rung.model_id)
        assert card.id in up & fitting
        assert card.billing is Billing.NONE or asked.strategy is not Strategy.LOCAL_ONLY
        assert card.tier is Tier.PREMIUM or asked.strategy is not Strategy.PREMIUM_ONLY
        assert not asked.options.tools or Capability.TOOLS in card.capabilities
        assert asked.constraints.tiers is None or card.tier in asked.constraints.tiers


@given(REQUESTS, st.frozensets(st.sampled_from(sorted(ALL))))
def test_a_plan_is_short_without_repeats_and_there_when_anyone_is_eligible(asked: Request, up: frozenset[str]) -> None:
    policy = RoutingPolicy()
    told, scores = scored(asked, up, policy)
    chosen = outcome(asked, up, scores, policy)
    fit, _ = eligible(asked, told.features, [card for card in GENERATE if card.id in scores], scores)
    if asked.constraints.min_quality is None or not fit:  # a quality nobody is predicted to reach is refused too
        assert (chosen is not None) == bool(fit)
    if chosen is not None:
        names = [rung.model_id for rung in chosen.rungs]
        assert 1 <= len(names) <= policy.max_rungs
        assert len(set(names)) == len(names)
        assert chosen.reason


@given(REQUESTS, st.frozensets(st.sampled_from(sorted(ALL))))
def test_the_same_inputs_give_the_same_plan(asked: Request, up: frozenset[str]) -> None:
    first, second = RoutingPolicy(), RoutingPolicy()
    assert first.version == second.version
    plans = [outcome(asked, up, scored(asked, up, policy)[1], policy) for policy in (first, second)]
    assert plans[0] == plans[1]


# -- scores -----------------------------------------------------------------------------------------


@given(st.sampled_from(GENERATE), st.sampled_from(["Hi!", HARD, "Prove it.", "word " * 9_000]))
def test_a_score_is_a_probability_and_two_bounds_that_are_not_negative(card: Any, text: str) -> None:
    asked = request(text)
    told = scored(asked, frozenset({card.id}), RoutingPolicy())[1][card.id]
    assert 0 <= told.p_adequate <= 1
    assert told.cost_nanousd >= 0
    assert (told.cost_nanousd == 0) == (card.billing is Billing.NONE)
    assert told.latency_ms > 0


def test_a_higher_tier_is_never_predicted_worse() -> None:
    for text in ("Hi!", HARD, "Prove that there are infinitely many primes."):
        scores = scored(request(text), CORE, RoutingPolicy())[1]
        assert scores[LOCAL].p_adequate < scores[MID].p_adequate < scores[PREMIUM].p_adequate


def test_harder_requests_are_predicted_to_succeed_less() -> None:
    easy, hard = (scored(request(text), CORE, RoutingPolicy())[1][LOCAL].p_adequate for text in ("Hi!", HARD))
    assert easy > 0.8
    assert hard < 0.3


def test_creative_models_gain_on_creative_work_alone() -> None:
    haiku, code = (scored(request(text), CORE, RoutingPolicy())[1] for text in ("Write a haiku.", HARD))
    assert haiku[CREATIVE].p_adequate > haiku[PREMIUM].p_adequate
    assert code[CREATIVE].p_adequate == code[PREMIUM].p_adequate


@given(st.text(max_size=500), st.text(max_size=500))
def test_difficulty_stays_between_zero_and_one(one: str, other: str) -> None:
    assert 0 <= difficulty(read(request(f"{one}\n\n{other}"))) <= 1


# -- the policy as a row ----------------------------------------------------------------------------


def test_a_policy_survives_its_row() -> None:
    policy = RoutingPolicy(medium_at=0.3, ladders={**RoutingPolicy().ladders, Complexity.SIMPLE: ("mid",)})
    assert RoutingPolicy.from_dict(policy.as_dict()).version == policy.version != RoutingPolicy().version


def test_what_a_row_leaves_out_is_the_default() -> None:
    policy = RoutingPolicy.from_dict({"ladders": {"simple": ["mid"]}, "tier_strength": {"local": 0.6}})
    assert policy.ladders["simple"] == ("mid",)
    assert policy.ladders["tools"] == ("premium", "creative")
    assert policy.tier_strength["premium"] == 0.9


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"laders": {}}, "has unknown fields: laders"),
        ({"version": "x"}, "has unknown fields: version"),
        ({"ladders": {"simple": 5}}, "cannot be read"),
        ({"ladders": 5}, "cannot be read"),
    ],
)
def test_a_row_that_is_no_policy_is_told(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"routing policy 'broken' {said}"):
        RoutingPolicy.from_dict(row, "broken")


def test_the_name_of_a_policy_is_not_part_of_its_version() -> None:
    assert RoutingPolicy(name="a").version == RoutingPolicy(name="b").version
