"""A recorded row goes through the real choice, and its recorded answers through the real judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.artefacts import shipped_judge, shipped_predictor
from orchestrator.core.contract.certificate import Certificate, Contract, Reads, State
from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay.played import NOBODY, Played, Sat, replay_of
from orchestrator.core.replay.recorded import Outcome, Recorded
from orchestrator.core.replay.seats import seating
from orchestrator.core.replay.table import Table
from orchestrator.core.routing.asking import asked_of, seen
from orchestrator.core.routing.plan import choose
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.rules import Rule
from orchestrator.core.types import Strategy
from registry.load import load
from tests.flow.house import reply
from tests.samples import request

AT = datetime(2026, 11, 20, tzinfo=UTC)
CARDS = {"small": "llama-3.2-1b-instruct", "fair": "deepseek-chat", "big": "claude-sonnet"}
SMALL, FAIR, BIG = 0, 1, 2
EASY, HARD = "What is the capital of France?", "Design and implement a FastAPI server with a Postgres database schema."
GOOD, REFUSED = "Paris is the capital of France.", "I'm sorry, but I can't help with that."


def row(text: str = EASY, answer: str | None = None, tokens: int | None = 100, **changes: Any) -> Recorded:
    values: dict[str, Any] = {
        "id": text,
        "text": text,
        "cluster": text,
        "input_tokens": 1_000,
        "outcomes": {
            "small": Outcome(quality=0.1, output_tokens=tokens),
            "fair": Outcome(quality=0.6, output_tokens=tokens),
            "big": Outcome(quality=0.9, output_tokens=tokens),
        },
        "answers": {"small": answer} if answer is not None else {},
    }
    return Recorded(**{**values, **changes})


def table(**changes: Any) -> Table:
    seats = seating({"small": 0.1, "fair": 0.6, "big": 0.9}, load(), told=CARDS)
    return Table(seats, load(), shipped_judge(), AT, **changes)


def play(row: Recorded, policy: RoutingPolicy | None = None, **changes: Any) -> tuple[Sat, Played]:
    at_table = table(**changes)
    sat = at_table.sit(row, shipped_predictor())
    return sat, at_table.play(sat, policy or RoutingPolicy())


def contract(state: State, threshold: float) -> Contract:
    certificate = Certificate(state=state, threshold=threshold, epsilon=0.05, delta=0.1, n=100)
    return Contract(
        task_class="simple",
        weak=CARDS["small"],
        reference=CARDS["big"],
        scorer=shipped_predictor().version,
        certificate=certificate,
        certified_at=AT,
    )


def test_an_easy_row_is_served_by_the_local_model_for_nothing_where_its_answer_was_not_kept() -> None:
    _, played = play(row())
    assert (played.way.first, played.way.served, played.way.cost_nanousd, played.judged) == (SMALL, SMALL, 0, False)


def test_a_hard_row_goes_to_the_premium_model_at_its_cards_price() -> None:
    _, played = play(row(HARD))
    # claude-sonnet in November 2026, 1,000 tokens in and 100 out: what its card says, in nano-dollars
    assert (played.way.first, played.way.served) == (BIG, BIG)
    assert played.way.cost_nanousd == 1_000 * 2_000 + 100 * 10_000


def test_a_kept_answer_is_judged_and_a_bad_one_is_escalated_and_both_are_paid() -> None:
    _, good = play(row(answer=GOOD))
    _, bad = play(row(answer=REFUSED))
    assert (good.way.first, good.way.served, good.judged) == (SMALL, SMALL, True)
    assert (bad.way.first, bad.judged) == (SMALL, True)
    assert bad.way.served in (FAIR, BIG)
    assert bad.way.cost_nanousd > 0


def test_the_choice_is_the_one_of_the_service() -> None:
    at_table = table()
    for text in (EASY, HARD, "Compare renting and buying a flat.", "Write a haiku about rain."):
        sat = at_table.sit(row(text), shipped_predictor())
        cards = [load().get(card) for card in CARDS.values()]
        away = {card: "away" for card in load().cards if card not in CARDS.values()}
        known = seen(sat.known.request, shipped_predictor())
        plan = choose(asked_of(known, RoutingPolicy(), cards, away, AT), RoutingPolicy(), load()).plan
        played = at_table.play(sat, RoutingPolicy())
        assert list(CARDS.values())[played.way.first] == plan.rungs[0].model_id


def test_recorded_dollars_count_where_they_are_asked_for_or_tokens_are_unknown() -> None:
    outcomes = {
        "small": Outcome(quality=0.1, usd=0.5),
        "fair": Outcome(quality=0.6, usd=0.25, output_tokens=10),
        "big": Outcome(quality=0.9),
    }
    told = table(recorded_costs=True).sit(row(outcomes=outcomes), shipped_predictor())
    assert told.cost_nanousd[:2] == (500_000_000, 250_000_000)
    priced = table().sit(row(outcomes=outcomes), shipped_predictor())
    assert priced.cost_nanousd[SMALL] == 500_000_000
    assert priced.cost_nanousd[FAIR] < 1_000_000
    assert priced.costed == ("recorded dollars", "card's price on recorded tokens", "card's price on expected tokens")


def test_a_met_contract_decides_and_its_threshold_is_the_margin() -> None:
    score = shipped_predictor().read(EASY).gain
    below = RoutingPolicy(contracts=(contract(State.MET, score + 0.1),))
    above = RoutingPolicy(contracts=(contract(State.MET, score - 0.1),))
    _, weak = play(row(), below)
    _, strong = play(row(), above)
    assert (weak.by_contract, weak.way.first) == (True, SMALL)
    assert (strong.by_contract, strong.way.first) == (True, BIG)
    assert weak.margin == pytest.approx(-0.1, abs=1e-5)
    assert strong.margin == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize("state", [State.UNCERTIFIED, State.REFERENCE, State.REVOKED])
def test_a_contract_that_is_not_met_sends_to_the_reference_and_keeps_the_other_way_to_sweep(state: State) -> None:
    _, played = play(row(), RoutingPolicy(contracts=(contract(state, -inf),)))
    assert played.way.first == BIG
    assert {way.first for way in played.ways} == {SMALL, BIG}


def reading(state: State, least_grade: float, **changes: Any) -> Contract:
    """A contract that reads the answer: a grade above `least_grade` is enough."""
    judged = {"scorer": shipped_judge().version, "reads": Reads.ANSWER, **changes}
    return replace(contract(state, -least_grade), **judged)


def test_a_contract_that_reads_the_answer_asks_the_cheap_model_and_serves_it_by_its_grade() -> None:
    policy = RoutingPolicy(contracts=(reading(State.MET, 0.5),))
    _, good = play(row(answer=GOOD), policy)
    _, bad = play(row(answer=REFUSED), policy)
    assert (good.way.served, bad.way.served, good.judged, good.by_contract) == (SMALL, BIG, True, True)
    assert bad.way.cost_nanousd == 1_000 * 2_000 + 100 * 10_000  # the local answer was free
    assert good.margin <= 0 < bad.margin
    assert good.margin == pytest.approx(0.5 - shipped_judge()(request(EASY), reply(GOOD)).value, abs=1e-6)


def test_models_that_are_only_compared_are_asked_before_and_never_served() -> None:
    policy = RoutingPolicy(contracts=(reading(State.MET, 0.0, compared=(CARDS["fair"],)),))
    told = row("What is 12 * 3? Answer with the number only.", answers={"small": "36", "fair": "36"})
    _, played = play(told, policy)
    assert (played.way.first, played.way.served) == (FAIR, SMALL)
    assert played.way.cost_nanousd == played.ways[0].cost_nanousd > 0


def test_a_contract_of_another_judge_sends_to_the_reference() -> None:
    policy = RoutingPolicy(contracts=(reading(State.MET, 0.5, scorer="another"),))
    _, played = play(row(answer=GOOD), policy)
    assert (played.way.first, len(played.ways)) == (BIG, 1)


def test_a_row_that_nobody_may_answer_is_counted_as_refused() -> None:
    rule = Rule(name="only-gpt", model="gpt-4o")
    sat, played = play(row(), RoutingPolicy(rules=(rule,)))
    assert played.refused is not None
    replay = replay_of([sat], [played])
    assert (replay.refused, replay.quality.tolist(), replay.cost_usd.tolist()) == (1, [0.0], [0.0])
    assert replay.served.tolist() == [NOBODY]


def test_the_operators_rules_hold_in_a_replay() -> None:
    rule = Rule(name="premium", strategy=Strategy.PREMIUM_ONLY)
    _, played = play(row(), RoutingPolicy(rules=(rule,)))
    assert played.way.first == BIG


def test_a_rule_that_names_a_model_leaves_one_way_and_no_strictness_changes_it() -> None:
    named = [Rule(name="always", model=CARDS[name]) for name in ("small", "big")]
    small, big = (play(row(HARD), RoutingPolicy(rules=(rule,)))[1] for rule in named)
    assert (small.way.first, len(small.ways), small.margin) == (SMALL, 1, -2.0)
    assert (big.way.first, len(big.ways), big.margin) == (BIG, 1, 2.0)


def test_a_rule_that_asks_for_quality_moves_the_target_and_so_the_need() -> None:
    plain, asking = (
        play(row(), RoutingPolicy(rules=rules))[1] for rules in ((), (Rule(name="good", min_quality=0.95),))
    )
    assert plain.way.first == SMALL
    assert (plain.way.first, asking.way.first) == (SMALL, FAIR)
    plainly, asked = (next(way for way in one.ways if way.first == SMALL) for one in (plain, asking))
    assert plainly.need <= 0 < asked.need


def test_a_card_without_a_price_is_refused_and_named() -> None:
    unpriced = load().get("gpt-4o").model_copy(update={"id": "unpriced", "aliases": (), "roles": (), "prices": ()})
    registry = load().with_cards([unpriced])
    seats = seating({"small": 0.1, "big": 0.9}, registry, told={"small": CARDS["small"], "big": "unpriced"})
    with pytest.raises(InvalidInput, match=r"No price for model 'unpriced'.*Map 'big' to a card with a price"):
        Table(seats, registry, shipped_judge(), AT).sit(row(), shipped_predictor())


def test_columns_hold_what_was_served_and_count_what_was_read() -> None:
    at_table = table()
    rows = [row(), row(HARD), row(answer=REFUSED)]
    sat = [at_table.sit(each, shipped_predictor()) for each in rows]
    replay = replay_of(sat, [at_table.play(each, RoutingPolicy()) for each in sat])
    assert replay.served[:2].tolist() == [SMALL, BIG]
    assert replay.quality[:2].tolist() == [0.1, 0.9]
    assert (replay.judged, replay.escalated, replay.refused, replay.by_contract) == (1, 1, 0, 0)
    assert sum(replay.classes.values()) == 3


TEXTS = st.sampled_from(
    [EASY, HARD, "Hi!", "Compare renting and buying.", "Integrate x^2 from 0 to 3.", "Écris un poème."]
)


@given(TEXTS, st.sampled_from([None, GOOD, REFUSED, "4"]), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_laxer_policy_never_needs_more_and_never_costs_more_by_prediction(
    text: str, answer: str | None, one: float, other: float
) -> None:
    strict, lax = sorted((one, other))
    classes = RoutingPolicy().slack
    policies = [RoutingPolicy(slack=dict.fromkeys(classes, slack)) for slack in (strict, lax)]
    stricter, laxer = (play(row(text, answer), policy)[1] for policy in policies)
    assert laxer.margin <= stricter.margin + 1e-9
    assert _taken(laxer.ways, 0.0) <= _taken(laxer.ways, strict - lax)


@given(TEXTS, st.sampled_from([None, GOOD, REFUSED]), st.floats(0, 0.6))
def test_the_way_read_off_at_no_offset_is_the_choice(text: str, answer: str | None, slack: float) -> None:
    policy = RoutingPolicy(slack=dict.fromkeys(RoutingPolicy().slack, round(slack, 3)))
    _, played = play(row(text, answer), policy)
    read_off = played.ways[_taken(played.ways, 1e-9)]
    assert (read_off.first, read_off.served, read_off.cost_nanousd) == (
        played.way.first,
        played.way.served,
        played.way.cost_nanousd,
    )


def _taken(ways: Sequence[Any], offset: float) -> int:
    """The first way that is enough: they stand in the order in which they are preferred."""
    return int(np.argmax([way.need <= offset for way in ways]))
