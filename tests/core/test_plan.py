"""Which plan is taken: the cheapest predicted enough, what a contract says, what a conversation keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.budget import BudgetState
from orchestrator.core.contract.certificate import Certificate, Contract, Reads, State
from orchestrator.core.errors import BudgetExceeded, NotEligible
from orchestrator.core.reading.features import read
from orchestrator.core.reading.predict import Reading
from orchestrator.core.routing.plan import Asked, Choice, choose
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import Read, read_as, score
from orchestrator.core.types import Complexity, Constraints, Neighbour, Plan, Request, Score, Strategy
from tests.flow.house import CREATIVE, LOCAL, MID, PREMIUM, registry
from tests.samples import request

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
CORE = (LOCAL, MID, PREMIUM, CREATIVE)
SECOND = "qwen2.5-3b-instruct"
POLICY = RoutingPolicy()


def told(asked: Request, *, ease: float = 0.0, gain: float = 0.0, near: tuple[Neighbour, ...] = ()) -> Read:
    found = read_as(read(asked), Reading(ease=ease, reach=0.0, gain=gain), "s1", POLICY)
    return replace(found, neighbours=near)


def scores(asked: Request, seen: Read, models: tuple[str, ...], policy: RoutingPolicy) -> dict[str, Score]:
    return {model: score(registry().get(model), seen, asked.options, policy, AT) for model in models}


def chosen(
    text: str = "Hi!",
    *,
    models: tuple[str, ...] = CORE,
    policy: RoutingPolicy = POLICY,
    ease: float = 0.0,
    gain: float = 0.0,
    near: tuple[Neighbour, ...] = (),
    last: str | None = None,
    bound: bool = False,
    judge: str | None = None,
    streamed: bool = False,
    adequate: dict[str, float] | None = None,
    left_nanousd: int | None = None,
    **changes: object,
) -> Choice:
    asked = request(text, **changes)
    seen = told(asked, ease=ease, gain=gain, near=near)
    found = scores(asked, seen, models, policy)
    for model, p in (adequate or {}).items():
        found[model] = replace(found[model], p_adequate=p)
    away = {model: "away" for model in registry().cards if model not in models}
    known = Asked(
        request=asked,
        read=seen,
        scores=found,
        unavailable=away,
        last=last,
        bound=bound,
        judge=judge,
        streamed=streamed,
        budget=None if left_nanousd is None else budget(left_nanousd),
    )
    return choose(known, policy, registry())


def budget(left_nanousd: int) -> BudgetState:
    return BudgetState(
        name="global",
        scope="global",
        window="month",
        limit_nanousd=10**12,
        spent_nanousd=10**12 - left_nanousd,
        reserved_nanousd=0,
        resets_at=None,
    )


def ladder(plan: Plan) -> list[str]:
    return [rung.model_id for rung in plan.rungs if not rung.fallback]


# -- what a budget leaves -------------------------------------------------------------------------------


def test_a_model_that_a_budget_cannot_pay_is_not_planned() -> None:
    dear = score(registry().get(PREMIUM), told(request("Hi!")), request("Hi!").options, POLICY, AT).cost_nanousd
    plan = chosen(adequate={LOCAL: 0.5, MID: 0.6, PREMIUM: 0.99}, left_nanousd=dear - 1).plan
    assert PREMIUM not in [rung.model_id for rung in plan.rungs]
    assert plan.beyond is not None
    assert plan.beyond.details["budget"] == "global"


def test_a_budget_with_enough_left_changes_nothing() -> None:
    with_budget = chosen(adequate={LOCAL: 0.5, MID: 0.6, PREMIUM: 0.99}, left_nanousd=10**11)
    assert with_budget == chosen(adequate={LOCAL: 0.5, MID: 0.6, PREMIUM: 0.99})


def test_a_spent_budget_leaves_our_own_machines() -> None:
    assert [rung.model_id for rung in chosen(left_nanousd=-5).plan.rungs] == [LOCAL]


def test_a_spent_budget_is_no_reason_to_answer_with_a_model_the_class_may_not_use() -> None:
    with pytest.raises(BudgetExceeded, match=r"has \$0.00 of \$1000.00 left"):
        chosen("Create a FastAPI server", left_nanousd=0)


def test_a_named_model_that_a_budget_cannot_pay_is_told_as_the_budget() -> None:
    with pytest.raises(BudgetExceeded):
        chosen(models=(PREMIUM,), left_nanousd=0, model=PREMIUM)


# -- the cheapest that is enough ------------------------------------------------------------------------


def test_the_cheapest_model_goes_first_where_it_is_predicted_to_do() -> None:
    plan = chosen(adequate={LOCAL: 0.95, MID: 0.97, PREMIUM: 0.99}).plan
    assert ladder(plan) == [LOCAL, MID, PREMIUM]


def test_a_model_predicted_to_fail_is_not_asked_first_but_may_stand_in_for_a_failure() -> None:
    plan = chosen(adequate={LOCAL: 0.3, MID: 0.97, PREMIUM: 0.99}).plan
    assert ladder(plan) == [MID, PREMIUM]
    assert [rung.model_id for rung in plan.rungs if rung.fallback] == [LOCAL]


def test_what_is_predicted_of_a_cascade_counts_both_mistakes_of_its_judge() -> None:
    policy = RoutingPolicy(accept_right=0.8, accept_wrong=0.5)
    plan = chosen(models=(MID, PREMIUM), policy=policy, adequate={MID: 0.9, PREMIUM: 0.95}).plan
    # right and accepted .9 × .8 = .72; goes on with 1 − .72 − .1 × .5 = .23, right then with .95
    assert ladder(plan) == [MID, PREMIUM]
    assert plan.quality == pytest.approx(0.72 + 0.23 * 0.95, abs=1e-4)


def test_two_local_models_vote_where_that_is_worth_it() -> None:
    policy = RoutingPolicy(accept_right=0.4, accept_wrong=0.1, agree_rates=(0.9, 0.05))
    plan = chosen(models=(LOCAL, SECOND, PREMIUM), policy=policy, adequate={LOCAL: 0.6, SECOND: 0.6, PREMIUM: 0.9}).plan
    assert sorted(ladder(plan)[:2]) == sorted([LOCAL, SECOND])
    assert ladder(plan)[2] == PREMIUM


def test_past_failures_on_like_prompts_send_it_elsewhere_and_are_told() -> None:
    failed = tuple(Neighbour(similarity=0.95, outcomes={LOCAL: float(n < 3)}) for n in range(14))
    plan = chosen(near=failed).plan
    assert ladder(plan)[0] == MID
    assert plan.reason.endswith(f"of 14 past prompts like this {LOCAL} failed 11")


def test_prompts_that_are_not_like_it_count_for_nothing() -> None:
    strangers = tuple(Neighbour(similarity=0.3, outcomes={LOCAL: 0.0}) for _ in range(14))
    assert chosen(near=strangers).plan.rungs == chosen().plan.rungs


def test_a_quality_nobody_is_predicted_to_reach_is_refused_with_each_prediction() -> None:
    with pytest.raises(NotEligible, match=r"predicted quality 0\.\d\d is under constraints\.quality") as refused:
        chosen(constraints=Constraints(min_quality=0.9999))
    assert set(refused.value.details["candidates"]) == {LOCAL, MID, PREMIUM}


# -- properties -----------------------------------------------------------------------------------------

SHARE = st.floats(0.01, 0.99)
ADEQUATE = st.fixed_dictionaries({LOCAL: SHARE, MID: SHARE, PREMIUM: SHARE, CREATIVE: SHARE})
TEXTS = st.sampled_from(["Hi!", "Compare renting and buying a flat.", "Create a FastAPI server", "Write a haiku."])


@given(TEXTS, ADEQUATE)
def test_no_plan_it_could_have_taken_is_cheaper_and_as_good(text: str, adequate: dict[str, float]) -> None:
    choice = chosen(text, adequate=adequate)
    mine, target = choice.plan, choice.target
    assert mine.quality is not None
    assert mine.cost_nanousd is not None
    assert target is not None
    assert mine.quality >= target
    for other in choice.considered:
        assert other.quality is not None
        assert other.cost_nanousd is not None
        no_worse = other.quality >= mine.quality and other.cost_nanousd <= mine.cost_nanousd
        better = other.quality > mine.quality or other.cost_nanousd < mine.cost_nanousd
        assert not (no_worse and better)


def or_none(text: str, adequate: dict[str, float], quality: float) -> Plan | None:
    try:
        return chosen(text, adequate=adequate, constraints=Constraints(min_quality=quality)).plan
    except NotEligible:
        return None


@given(TEXTS, ADEQUATE, st.floats(0, 1), st.floats(0, 1))
def test_asking_for_more_never_gives_less_and_never_costs_less(
    text: str, adequate: dict[str, float], one: float, other: float
) -> None:
    less, more = or_none(text, adequate, min(one, other)), or_none(text, adequate, max(one, other))
    if more is None:
        return
    assert less is not None
    assert (more.quality or 0) >= (less.quality or 0)
    assert (more.cost_nanousd or 0) >= (less.cost_nanousd or 0)


@given(TEXTS, ADEQUATE)
def test_the_same_inputs_give_the_same_plan(text: str, adequate: dict[str, float]) -> None:
    assert chosen(text, adequate=adequate).plan == chosen(text, adequate=dict(reversed(adequate.items()))).plan


@given(TEXTS, ADEQUATE)
def test_every_plan_is_predicted_and_short(text: str, adequate: dict[str, float]) -> None:
    for plan in chosen(text, adequate=adequate).considered:
        assert 0 <= (plan.quality or -1) <= 1
        assert (plan.latency_ms or 0) > 0
        assert 1 <= len(plan.rungs) <= POLICY.max_rungs
        assert len({rung.model_id for rung in plan.rungs}) == len(plan.rungs)


# -- contracts ------------------------------------------------------------------------------------------


def contract(state: State = State.MET, *, weak: str = MID, threshold: float = 0.1, scorer: str = "s1") -> Contract:
    met = state is State.MET
    certificate = Certificate(
        state=state,
        threshold=threshold if met or state is State.REVOKED else -inf,
        epsilon=0.05,
        delta=0.1,
        n=900,
        weak_share=0.6 if met else 0.0,
        more_labels=340 if state is State.UNCERTIFIED else None,
    )
    return Contract(
        task_class="support",
        weak=weak,
        reference=PREMIUM,
        scorer=scorer,
        certificate=certificate,
        certified_at=AT,
    )


def under(*contracts: Contract) -> RoutingPolicy:
    return RoutingPolicy(contracts=contracts)


def test_below_the_certified_threshold_the_weak_model_answers_first() -> None:
    plan = chosen(policy=under(contract()), gain=0.09, task_class="support").plan
    assert ladder(plan) == [MID, PREMIUM]
    assert plan.promise is not None
    assert (plan.promise.state, plan.promise.kept, plan.promise.score) == ("met", True, 0.09)
    assert [rung.threshold for rung in plan.rungs[:2]] == [0.3, 0.3]
    assert "the contract (95.0% of claude-sonnet's quality) is met at score +0.090 < +0.100" in plan.reason


@pytest.mark.parametrize(
    ("state", "gain", "said"),
    [
        (State.MET, 0.1, "sends scores from +0.100 to it, this is +0.100"),
        (State.UNCERTIFIED, -1.0, "is uncertified: about 340 more labels"),
        (State.REFERENCE, -1.0, "no cheaper model is known to keep the contract"),
        (State.REVOKED, -1.0, "was revoked: live labels refuted it"),
    ],
)
def test_without_a_standing_certificate_for_it_the_reference_answers(state: State, gain: float, said: str) -> None:
    plan = chosen(policy=under(contract(state)), gain=gain, task_class="support").plan
    assert ladder(plan) == [PREMIUM]
    assert said in plan.reason
    assert plan.promise is not None
    assert plan.promise.state == state


def test_a_certificate_of_another_score_does_not_count() -> None:
    plan = chosen(policy=under(contract(scorer="an older one")), gain=-1.0, task_class="support").plan
    assert ladder(plan) == [PREMIUM]
    assert plan.promise is not None
    assert plan.promise.state == "uncertified"


def test_a_contract_speaks_of_its_own_class_alone() -> None:
    policy = under(contract(State.UNCERTIFIED))
    assert chosen(policy=policy, task_class="billing").plan.promise is None
    assert chosen(policy=policy).plan.rungs == chosen().plan.rungs


def test_without_a_class_of_its_own_a_request_has_the_one_it_is_read_as() -> None:
    simple = replace(contract(), task_class=str(Complexity.SIMPLE))
    assert chosen(policy=under(simple), gain=-1.0).plan.promise is not None
    assert chosen("Create a FastAPI server", policy=under(simple), gain=-1.0).plan.promise is None


def test_of_two_contracts_the_first_that_lets_a_cheaper_model_answer_decides() -> None:
    both = under(contract(weak=LOCAL, threshold=-0.2), contract(weak=MID, threshold=0.1))
    assert ladder(chosen(policy=both, gain=-0.3, task_class="support").plan) == [LOCAL, PREMIUM]
    assert ladder(chosen(policy=both, gain=0.0, task_class="support").plan) == [MID, PREMIUM]
    assert ladder(chosen(policy=both, gain=0.2, task_class="support").plan) == [PREMIUM]


def test_where_the_reference_may_not_be_called_the_contract_is_not_kept_and_that_is_told() -> None:
    plan = chosen(policy=under(contract()), strategy=Strategy.LOCAL_ONLY, task_class="support").plan
    assert ladder(plan) == [LOCAL]
    assert plan.promise is not None
    assert plan.promise.kept is False


def test_where_the_weak_model_is_away_the_reference_answers_and_that_is_told() -> None:
    plan = chosen(models=(PREMIUM, CREATIVE), policy=under(contract()), gain=-1.0, task_class="support").plan
    assert ladder(plan) == [PREMIUM]
    assert "would let deepseek-chat answer, which cannot be called now" in plan.reason


@given(st.floats(-1, 1), st.sampled_from(State), st.sampled_from(["support", None]))
def test_the_weak_model_goes_first_only_under_a_standing_certificate_or_by_prediction(
    gain: float, state: State, task_class: str | None
) -> None:
    plan = chosen(policy=under(contract(state)), gain=gain, task_class=task_class).plan
    if plan.promise is not None and ladder(plan)[0] != PREMIUM:
        assert state is State.MET
        assert gain < 0.1


def test_contracts_survive_the_policys_row() -> None:
    policy = under(contract(), contract(State.UNCERTIFIED), contract(threshold=inf))
    again = RoutingPolicy.from_dict(policy.as_dict())
    assert again.contracts == policy.contracts
    assert again.version == policy.version != RoutingPolicy().version


# -- conversations --------------------------------------------------------------------------------------


def test_a_conversation_stays_with_its_model_where_moving_gains_little() -> None:
    assert ladder(chosen(last=MID).plan)[0] == MID
    assert "the conversation stays with deepseek-chat" in chosen(last=MID).plan.reason


def test_it_moves_up_when_its_model_is_not_predicted_good_enough() -> None:
    plan = chosen("Create a FastAPI server", last=LOCAL).plan
    assert ladder(plan)[0] == PREMIUM
    assert f"moved from {LOCAL}, which is not predicted good enough" in plan.reason


def test_it_moves_down_when_staying_costs_far_more() -> None:
    long = "Hi! " + "Thanks for this. " * 2_000
    plan = chosen(long, last=PREMIUM, adequate={LOCAL: 0.99, MID: 0.99, PREMIUM: 0.99}).plan
    assert ladder(plan)[0] == MID
    assert f"moved from {PREMIUM}, which would cost far more" in plan.reason


def in_conversation(adequate: dict[str, float], last: str, quality: float) -> Choice | None:
    try:
        return chosen(adequate=adequate, last=last, constraints=Constraints(min_quality=quality))
    except NotEligible:
        return None


def switching_counted(plan: Plan, last: str) -> float:
    cost = plan.cost_nanousd or 0
    stays = plan.rungs[0].model_id == last
    return cost if stays else POLICY.switch_factor * cost + POLICY.switch_least_nanousd


@given(ADEQUATE, st.sampled_from([LOCAL, MID, PREMIUM]), st.floats(0, 1), st.floats(0, 1))
def test_in_a_conversation_too_asking_for_more_never_gives_less_nor_costs_less_with_the_switch(
    adequate: dict[str, float], last: str, one: float, other: float
) -> None:
    less, more = (in_conversation(adequate, last, quality) for quality in sorted([one, other]))
    if more is None:
        return
    assert less is not None
    assert (more.plan.quality or 0) >= (less.plan.quality or 0)
    assert switching_counted(more.plan, last) >= switching_counted(less.plan, last)


def test_inside_a_tool_loop_nothing_moves() -> None:
    plan = chosen("Create a FastAPI server", last=LOCAL, bound=True).plan
    assert ladder(plan) == [LOCAL]
    assert plan.reason == f"a tool loop stays with {LOCAL}"


# -- contracts that read the answer ---------------------------------------------------------------------


def reading(state: State = State.MET, *, grade: float = 0.62, compared: tuple[str, ...] = (LOCAL,)) -> Contract:
    """DeepSeek's answer, compared with the local one's, is accepted above this grade."""
    found = contract(state, threshold=-grade, scorer="judge-1")
    return replace(found, reads=Reads.ANSWER, compared=compared)


def test_a_contract_that_reads_the_answer_asks_the_cheap_models_and_accepts_above_its_grade() -> None:
    plan = chosen(policy=under(reading()), judge="judge-1", task_class="support").plan
    assert ladder(plan) == [LOCAL, MID, PREMIUM]
    assert [rung.threshold for rung in plan.rungs] == [2.0, pytest.approx(0.62), 0.3]
    assert plan.rungs[1].threshold > 0.62
    assert [rung.compared for rung in plan.rungs] == [0, 1, 0]
    assert plan.promise is not None
    assert (plan.promise.reads, plan.promise.score, plan.promise.threshold) == ("answer", None, 0.62)
    assert "accepts answers graded above 0.620" in plan.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"judge": "judge-2"},
        {"judge": "judge-1", "streamed": True},
        {"judge": "judge-1", "models": (MID, PREMIUM, CREATIVE)},
    ],
    ids=["another judge", "a stream", "nobody to compare with"],
)
def test_where_the_answer_cannot_be_read_as_certified_the_reference_answers(changes: dict[str, Any]) -> None:
    plan = chosen(policy=under(reading()), task_class="support", **changes).plan
    assert ladder(plan) == [PREMIUM]


def test_contracts_that_read_the_answer_survive_the_policys_row() -> None:
    policy = under(reading(), contract())
    assert RoutingPolicy.from_dict(policy.as_dict()).contracts == policy.contracts
    assert len({each.version for each in (reading(), reading(compared=()), contract())}) == 3


# -- streams --------------------------------------------------------------------------------------------


def test_a_streamed_answer_is_planned_as_the_one_model_that_will_have_spoken() -> None:
    adequate = {LOCAL: 0.7, MID: 0.9, PREMIUM: 0.95}
    whole, streamed = chosen(adequate=adequate).plan, chosen(adequate=adequate, streamed=True).plan
    assert ladder(whole) == [LOCAL, MID, PREMIUM]
    assert ladder(streamed) == [MID]
    assert streamed.quality == 0.9
    assert [rung.model_id for rung in streamed.rungs if rung.fallback] == [PREMIUM, LOCAL]
