"""Figures of a replay: worked out by hand on a few rows, and the same as `evaluate` where both apply."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from orchestrator.adapters.artefacts import shipped_judge, shipped_predictor
from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay import evaluate
from orchestrator.core.replay.ordering import Ordering
from orchestrator.core.replay.played import Replay, Sat, Way, replay_of
from orchestrator.core.replay.recorded import Outcome, Recorded
from orchestrator.core.replay.resample import Draws, Floats, intervals, mean_of, share_of
from orchestrator.core.replay.seats import Seating, seating
from orchestrator.core.replay.simulate import Ground
from orchestrator.core.replay.table import Table
from orchestrator.core.routing.policy import RoutingPolicy
from registry.load import load

SEATS = {"weak": "llama-3.2-1b-instruct", "strong": "claude-sonnet"}
WEAK, STRONG = 0, 1
ONES = np.ones((1, 4))


def seats() -> Seating:
    return seating({"weak": 0.5, "strong": 1.0}, load(), told=SEATS)


def rows(weak: Sequence[float], strong: Sequence[float]) -> list[Sat]:
    """Strong costs two dollars an answer, weak nothing."""
    table = Table(seats(), load(), shipped_judge(), datetime(2026, 11, 20, tzinfo=UTC), recorded_costs=True)
    found = []
    for number, (low, high) in enumerate(zip(weak, strong, strict=True)):
        outcomes = {"weak": Outcome(quality=low, usd=0.0), "strong": Outcome(quality=high, usd=2.0)}
        row = Recorded(id=str(number), text="Hi!", cluster=str(number), outcomes=outcomes)
        found.append(table.sit(row, shipped_predictor()))
    return found


def replay(sat: Sequence[Sat], served: Sequence[int], margin: Sequence[float]) -> Replay:
    """Each row can go either way; the weak way needs `margin`."""
    ways = [
        (
            Way(need=need, first=WEAK, served=WEAK, cost_nanousd=0),
            Way(need=-np.inf, first=1, served=1, cost_nanousd=2 * 10**9),
        )
        for need in margin
    ]
    return Replay(
        served=np.array(served, dtype=np.intp),
        first=np.array(served, dtype=np.intp),
        quality=np.array([row.quality[seat] for row, seat in zip(sat, served, strict=True)]),
        cost_usd=np.array([2.0 * seat for seat in served]),
        margin=np.array(margin),
        ways=tuple(ways),
        refused=0,
        judged=0,
        by_contract=0,
        escalated=0,
        classes={"simple": len(sat)},
    )


# weak is right on the first and the last; strong on all. The policy sends the two middle rows up.
SAT = rows([1, 0, 0, 1], [1, 1, 1, 1])
CLEVER = replay(SAT, [0, 1, 1, 0], [-0.2, 0.1, 0.2, -0.1])
BLUNT = replay(SAT, [1, 1, 0, 0], [0.2, 0.1, -0.1, -0.2])


def test_quality_cost_and_shares_are_means_over_the_rows() -> None:
    found = Ground(SAT, seats()).simulate("clever", CLEVER).policy
    assert found.quality.value == 1.0
    assert found.cost_usd.value == 1_000.0  # half the rows at two dollars, a thousand requests
    assert found.shares == {"weak": 0.5, "strong": 0.5}


def test_the_baselines_are_each_model_alone_and_the_cheapest_of_the_best_answers() -> None:
    weak, strong, oracle = Ground(SAT, seats()).baselines()
    assert (weak.name, weak.quality.value, weak.cost_usd.value) == ("always weak", 0.5, 0.0)
    assert (strong.name, strong.quality.value, strong.cost_usd.value) == ("always strong", 1.0, 2_000.0)
    assert (oracle.name, oracle.quality.value, oracle.cost_usd.value) == ("oracle", 1.0, 1_000.0)


def test_the_same_shares_dealt_blindly_are_a_mixture_of_the_means() -> None:
    blind = Ground(SAT, seats()).simulate("clever", CLEVER).random
    assert (blind.quality.value, blind.cost_usd.value) == (0.75, 1_000.0)


def test_the_order_is_graded_between_the_two_ends() -> None:
    order = Ground(SAT, seats()).simulate("clever", CLEVER).order
    assert order is not None
    # The gap is whole after half the calls: 0, ½, 1, 1, 1 of it at 0, ¼, ½, ¾, 1 of the calls.
    assert order["apgr"].value == pytest.approx((0.25 + 0.75 + 1 + 1) / 4)
    assert order["cpt50"].value == pytest.approx(0.25)
    assert order["cpt80"].value == pytest.approx(0.4)
    assert order["regret"].value == 0.0
    blunt = Ground(SAT, seats()).simulate("blunt", BLUNT).order
    assert blunt is not None
    assert blunt["regret"].value == pytest.approx(0.25)  # half the gain is missed at the same share


def test_two_equal_models_leave_no_order_to_grade() -> None:
    same = rows([1, 0, 1, 0], [1, 0, 1, 0])
    assert Ground(same, seats()).simulate("p", replay(same, [0, 0, 1, 1], [0, 0, 0, 0])).order is None


def test_the_curve_runs_from_all_strong_to_all_weak_through_the_policys_own_point() -> None:
    curve = Ground(SAT, seats()).simulate("clever", CLEVER).curve
    assert (curve[0].quality, curve[0].cost_usd) == (1.0, 2_000.0)
    assert (curve[-1].quality, curve[-1].cost_usd) == (0.5, 0.0)
    assert (1.0, 1_000.0) in {(point.quality, point.cost_usd) for point in curve}
    assert [point.cost_usd for point in curve] == sorted((point.cost_usd for point in curve), reverse=True)


def test_two_policies_are_compared_row_by_row() -> None:
    ground = Ground(SAT, seats())
    found = ground.difference("blunt", BLUNT, "clever", CLEVER)
    assert (found.cost_share.value, found.quality.value) == (0.0, 0.25)
    best = ground.against_best("clever", CLEVER)
    assert (best.first, best.cost_share.value, best.quality.value) == ("always strong", -0.5, 0.0)


def test_a_policy_against_itself_differs_by_nothing_in_every_draw() -> None:
    found = Ground(SAT, seats()).difference("a", CLEVER, "b", CLEVER)
    assert (found.quality.low, found.quality.value, found.quality.high) == (0.0, 0.0, 0.0)
    assert (found.cost_share.low, found.cost_share.high) == (0.0, 0.0)


def test_a_share_of_nothing_is_not_a_number() -> None:
    free = replay(SAT, [0, 0, 0, 0], [0, 0, 0, 0])
    assert isnan(Ground(SAT, seats()).difference("free", free, "clever", CLEVER).cost_share.value)


def test_without_rows_there_is_nothing_to_simulate() -> None:
    with pytest.raises(InvalidInput, match="no row holds an answer of every model that plays"):
        Ground([], seats())


def test_the_whole_way_on_real_policies_gives_a_dearer_and_better_point_for_less_slack() -> None:
    table = Table(seats(), load(), shipped_judge(), datetime(2026, 11, 20, tzinfo=UTC))
    outcomes = {"weak": Outcome(quality=0.2, output_tokens=50), "strong": Outcome(quality=0.9, output_tokens=50)}
    texts = ("Hi!", "What is 2+2?", "Who wrote Hamlet?")
    sat = [table.sit(Recorded(id=t, text=t, cluster=t, outcomes=outcomes), shipped_predictor()) for t in texts]
    none = RoutingPolicy(slack=dict.fromkeys(RoutingPolicy().slack, 0.0))
    ground = Ground(sat, seats())
    lax, strict = (
        ground.simulate(name, replay_of(sat, [table.play(row, policy) for row in sat])).policy
        for name, policy in (("default", RoutingPolicy()), ("strict", none))
    )
    assert (lax.quality.value, lax.cost_usd.value) == (pytest.approx(0.2), 0.0)
    assert strict.quality.value == pytest.approx(0.9)
    assert strict.cost_usd.value > 0


# -- draws ------------------------------------------------------------------------------------------


def test_rows_of_one_cluster_are_drawn_together() -> None:
    for weights in Draws(["a", "b", "a", "c", "b"], 200, seed=1):
        assert (weights[:, 0] == weights[:, 2]).all()
        assert (weights[:, 1] == weights[:, 4]).all()
        assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()  # three clusters, drawn three times


def test_clusters_widen_the_interval_and_the_seed_repeats_it() -> None:
    values = np.tile([0.0, 1.0], 50)
    alone = [str(number) for number in range(100)]
    together = ["low" if number % 2 == 0 else f"high{number // 10}" for number in range(100)]
    one, again = (intervals({"m": mean_of(values)}, Draws(alone, 500, seed=3))["m"] for _ in range(2))
    wide = intervals({"m": mean_of(values)}, Draws(together, 500, seed=3))["m"]
    assert one == again
    assert one.low < one.value == 0.5 < one.high
    assert wide.high - wide.low > one.high - one.low


def test_the_interval_of_a_mean_has_the_width_the_theory_says() -> None:
    values = np.random.default_rng(5).random(400)
    found = intervals({"m": mean_of(values)}, Draws([str(n) for n in range(400)], 2_000, seed=7))["m"]
    expected = 2 * 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


def test_many_rows_get_fewer_draws_and_say_so() -> None:
    assert Draws([str(n) for n in range(100_000)], 1_000, seed=0).replicates == 640


def test_sums_over_sums_know_when_there_is_no_divisor() -> None:
    assert share_of([1, 1, 2, 0], [2, 2, 2, 2])(ONES).tolist() == [0.5]
    assert isnan(share_of([1, 1, 2, 0], [0, 0, 0, 0])(ONES)[0])


# -- the order, held to `evaluate` ------------------------------------------------------------------

COLUMNS = st.integers(2, 25).flatmap(
    lambda n: st.tuples(*(arrays.arrays(np.int8, n, elements=st.integers(0, 3)) for _ in range(3)))
)


@given(COLUMNS)
def test_the_figures_of_an_order_are_those_of_evaluate(columns: tuple[Floats, Floats, Floats]) -> None:
    weak, strong, score = (np.asarray(each, dtype=np.float64) / 3 for each in columns)
    if columns[1].sum() <= columns[0].sum():  # exactly: means of equal sums may differ in the last digit
        return
    ordering, ones = Ordering(weak, strong, score), np.ones((1, len(weak)))
    share = evaluate.cpt(weak, strong, score, 0.5)
    assert ordering.apgr(ones)[0] == pytest.approx(evaluate.apgr(weak, strong, score))
    assert share - 1 / len(weak) - 1e-9 <= ordering.cpt(0.5)(ones)[0] <= share + 1e-9  # `evaluate` takes whole rows
    served = score > 0.5
    expected = evaluate.regret(weak, strong, score, float(served.mean()))
    assert ordering.regret(served)(ones)[0] == pytest.approx(expected, abs=1e-9)


@given(COLUMNS)
def test_a_row_drawn_twice_counts_as_two_rows(columns: tuple[Floats, Floats, Floats]) -> None:
    weak, strong, score = (np.asarray(each, dtype=np.float64) / 3 for each in columns)
    times = np.arange(len(weak)) % 3
    repeated = [np.repeat(each, times) for each in (weak, strong, score)]
    if not len(repeated[0]) or repeated[1].mean() - repeated[0].mean() <= 1e-9:
        return
    weights = times[None, :].astype(np.float64)
    once = np.ones((1, len(repeated[0])))
    assert Ordering(weak, strong, score).apgr(weights)[0] == pytest.approx(Ordering(*repeated).apgr(once)[0])
