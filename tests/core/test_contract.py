"""Contracts: what is certified, for which data, and how often a certificate is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.core.contract.certificate import Certificate, Contract, State, certify, decide, labels_needed, revoke
from orchestrator.core.errors import InvalidInput

Floats = NDArray[np.float64]
HUNDREDTHS = np.arange(1, 100) / 100


def task_class(seed: int, n: int, losses: float, wins: float = 0.02) -> tuple[Floats, Floats, Floats]:
    """Uniform scores that say nothing; the reference is right on 80%; the weak model loses and wins as told."""
    dice = np.random.default_rng(seed)
    reference = (dice.random(n) < 0.8).astype(float)
    lucky = dice.random(n)
    weak = np.where(reference == 1, lucky >= losses / 0.8, lucky < wins / 0.2).astype(float)
    return dice.random(n), weak, reference


def certificate(threshold: float = 0.4, state: State = State.MET) -> Certificate:
    return Certificate(state=state, threshold=threshold, epsilon=0.05, delta=0.1, n=500)


def contract(found: Certificate) -> Contract:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return Contract(
        task_class="summary", weak="a/small", reference="b/big", scorer="s1", certificate=found, certified_at=at
    )


def test_a_weak_model_as_good_as_the_reference_gets_every_query() -> None:
    found = certify(*task_class(1, 2000, losses=0.02), epsilon=0.05, delta=0.1, grid=HUNDREDTHS)
    assert (found.state, found.threshold, found.weak_share) == (State.MET, inf, 1.0)


def test_a_score_that_knows_where_the_weak_model_fails_parts_the_queries_there() -> None:
    scores = np.arange(4000) / 4000
    weak = (scores < 0.5).astype(float)
    found = certify(scores, weak, np.ones(4000), epsilon=0.05, delta=0.1, grid=HUNDREDTHS)
    assert found.state is State.MET
    # the promise breaks when over 5% of all queries fail, which is at 0.55; sampling error costs a little of that
    assert 0.52 <= found.threshold <= 0.55
    assert decide(found, 0.2) == "weak"
    assert decide(found, 0.9) == "strong"


def test_a_query_at_the_threshold_goes_to_the_strong_model() -> None:
    assert decide(certificate(0.4), 0.4) == "strong"
    assert decide(certificate(0.4), 0.3999) == "weak"


@pytest.mark.parametrize("state", [State.REFERENCE, State.UNCERTIFIED, State.REVOKED])
def test_without_a_standing_certificate_the_reference_answers(state: State) -> None:
    assert decide(certificate(0.4, state), 0.1) == "strong"


def test_too_few_labels_are_uncertified_and_told_about_how_many_more() -> None:
    found = certify(*task_class(2, 60, losses=0.1), epsilon=0.02, delta=0.05, grid=HUNDREDTHS)
    assert found.state is State.UNCERTIFIED
    assert found.threshold == -inf
    assert found.more_labels is not None
    assert 50 <= found.more_labels <= 1000


def test_a_handful_of_rows_never_certifies_by_luck() -> None:
    found = [certify(*task_class(seed, 8, losses=0.1), epsilon=0.05, delta=0.1).state for seed in range(300)]
    assert State.MET not in found


def test_the_labels_asked_for_are_about_enough() -> None:
    asked = labels_needed(*task_class(3, 400, losses=0.1), epsilon=0.02, delta=0.05)
    assert asked is not None
    assert 150 <= asked <= 1000
    states = [certify(*task_class(s, asked, losses=0.1), epsilon=0.02, delta=0.05).state for s in range(30)]
    assert states.count(State.MET) >= 20


def test_queries_of_one_score_go_together_when_labels_are_counted() -> None:
    # half of the rows share the lowest score and the weak model fails on 6% of them: 3% of all, and 5% may fail
    scores, weak = np.repeat([0.1, 0.9], 100), np.repeat([1.0, 0.0, 1.0], [94, 6, 100])
    first = labels_needed(scores, weak, np.ones(200), epsilon=0.05, delta=0.1)
    mirrored = labels_needed(scores[::-1], weak[::-1], np.ones(200), epsilon=0.05, delta=0.1)
    assert first == mirrored == 328  # (1.2816 + 0.8416)² × 0.0291 / 0.02²


def test_a_hopeless_weak_model_means_the_reference() -> None:
    found = certify(np.arange(300) / 300, np.zeros(300), np.ones(300), epsilon=0.005, delta=0.1)
    assert found.state is State.REFERENCE
    assert str(found) == "reference"
    assert found.more_labels is None


def test_an_uncertified_contract_says_in_words_what_it_lacks() -> None:
    found = Certificate(state=State.UNCERTIFIED, threshold=-inf, epsilon=0.05, delta=0.1, n=500, more_labels=1234)
    assert str(found) == "uncertified: about 1,200 more labels"


def test_fractional_qualities_are_certified_too() -> None:
    dice = np.random.default_rng(4)
    scores, reference = dice.random(3000), dice.uniform(0.6, 1.0, 3000)
    weak = np.clip(reference - 0.2 * scores, 0, 1)  # loses 0.1 on average, half of it allowed at 0.06
    found = certify(scores, weak, reference, epsilon=0.05, delta=0.1, grid=HUNDREDTHS)
    assert found.state is State.MET
    assert 0.55 <= found.threshold <= 0.64  # 0.1 t² = 0.05 × 0.8 at t = 0.632


def test_a_promise_about_a_backlog_certifies_more_than_one_about_all_future_queries() -> None:
    future = [certify(*task_class(s, 1000, 0.1), epsilon=0.05, delta=0.1, grid=HUNDREDTHS) for s in range(20)]
    backlog = [
        certify(*task_class(s, 1000, 0.1), epsilon=0.05, delta=0.1, grid=HUNDREDTHS, population=1100) for s in range(20)
    ]
    assert sum(c.weak_share for c in backlog) > sum(c.weak_share for c in future)


@pytest.mark.parametrize("grid", [HUNDREDTHS, None])
def test_on_data_where_the_promise_breaks_at_half_the_calls_certificates_beyond_are_rare(grid: Floats | None) -> None:
    # the weak model loses 8 points net, the promise allows 0.05 × 0.8 = 4 points: broken above a share of 0.5
    wrong = 0
    for seed in range(120):
        found = certify(*task_class(seed, 250, losses=0.1), epsilon=0.05, delta=0.1, grid=grid)
        wrong += found.state is State.MET and found.threshold > 0.5
    assert wrong <= 120 * 0.1 + 3 * 3.3  # three standard deviations of a binomial with p = 0.1


def test_drawn_from_a_backlog_broken_at_half_the_calls_certificates_beyond_are_rare() -> None:
    scores, weak, reference = task_class(5, 1200, losses=0.1)
    margin = [np.where(scores < t, weak, reference).mean() - 0.95 * reference.mean() for t in HUNDREDTHS]
    broken_from = HUNDREDTHS[np.flatnonzero(np.array(margin) < 0)[0]]
    wrong, dice = 0, np.random.default_rng(6)
    for _ in range(150):
        drawn = dice.permutation(1200)[:400]
        rows = (scores[drawn], weak[drawn], reference[drawn])
        found = certify(*rows, epsilon=0.05, delta=0.1, grid=HUNDREDTHS, population=1200)
        wrong += found.state is State.MET and found.threshold >= broken_from
    assert wrong <= 150 * 0.1 + 3 * 3.7


def aimed(seed: int, n: int) -> tuple[tuple[Floats, Floats, Floats], Floats]:
    """Of 2 n queries about n, four times as dense below a score of one half; and their chances of being labelled."""
    scores, weak, reference = task_class(seed, 2 * n, losses=0.1)
    chance = np.where(scores < 0.5, 0.8, 0.2)
    drawn = np.random.default_rng([seed, 1]).random(2 * n) < chance
    return (scores[drawn], weak[drawn], reference[drawn]), chance[drawn]


def test_labels_aimed_at_low_scores_break_promises_no_more_often() -> None:
    wrong = 0
    for seed in range(120):
        data, chance = aimed(seed, 250)
        found = certify(*data, epsilon=0.05, delta=0.1, grid=HUNDREDTHS, inclusion=chance, least_inclusion=0.2)
        wrong += found.state is State.MET and found.threshold > 0.5
    assert wrong <= 120 * 0.1 + 3 * 3.3


def test_labels_aimed_at_low_scores_certify_more() -> None:
    even = [certify(*task_class(s, 1000, 0.1), epsilon=0.05, delta=0.1, grid=HUNDREDTHS) for s in range(20)]
    low = [
        certify(*data, epsilon=0.05, delta=0.1, grid=HUNDREDTHS, inclusion=chance, least_inclusion=0.2)
        for data, chance in (aimed(s, 1000) for s in range(20))
    ]
    assert sum(c.weak_share for c in low) > sum(c.weak_share for c in even)
    assert all(c.weak_share == pytest.approx(c.threshold, abs=0.06) for c in low)  # scores are uniform


rows = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.2, 0.35, 0.6]), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.5, 1.0])
    ),
    min_size=1,
    max_size=120,
)
RUNGS = (0.0, 0.013, 0.02, 0.05, 0.06, 0.1, 0.3, 0.7)
LEVELS = (0.01, 0.05, 0.07, 0.1, 0.5)


@settings(deadline=None, max_examples=40)
@given(rows=rows, seed=st.integers(0, 1000), epsilon=st.sampled_from(RUNGS))
def test_the_order_of_the_rows_changes_nothing(
    rows: list[tuple[float, float, float]], seed: int, epsilon: float
) -> None:
    given_rows = np.array(rows * 4)
    mixed = given_rows[np.random.default_rng(seed).permutation(len(given_rows))]
    assert certify(*given_rows.T, epsilon=epsilon, delta=0.1) == certify(*mixed.T, epsilon=epsilon, delta=0.1)


@settings(deadline=None, max_examples=40)
@given(rows=rows, epsilons=st.tuples(*[st.sampled_from(RUNGS)] * 2), deltas=st.tuples(*[st.sampled_from(LEVELS)] * 2))
def test_asking_less_never_gives_a_stricter_policy(
    rows: list[tuple[float, float, float]], epsilons: tuple[float, float], deltas: tuple[float, float]
) -> None:
    columns = np.array(rows * 6).T
    more = certify(*columns, epsilon=min(epsilons), delta=min(deltas))
    less = certify(*columns, epsilon=max(epsilons), delta=max(deltas))
    assert less.threshold >= more.threshold


@pytest.mark.parametrize("seed", range(10))
def test_asking_less_never_gives_a_stricter_policy_near_the_edge(seed: int) -> None:
    data = task_class(seed, 700, losses=0.1)
    found = [certify(*data, epsilon=e, delta=d, grid=HUNDREDTHS).threshold for e in (0.03, 0.04) for d in (0.05, 0.1)]
    assert found[0] <= found[1] <= found[3]
    assert found[0] <= found[2] <= found[3]


def test_a_version_names_the_promise_and_not_the_day() -> None:
    first, later = contract(certificate()), contract(certificate())
    assert first.version == later.version
    assert len(first.version) == 16
    assert contract(certificate(0.5)).version != first.version
    assert revoke(first).version != first.version
    assert revoke(first).state is State.REVOKED


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"epsilon": -0.1}, "epsilon"),
        ({"epsilon": 1.0}, "epsilon"),
        ({"delta": 0.0001}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"weak": [0.0, 1.0, 8.2]}, "weak"),
        ({"reference": [0.0, -0.1, 1.0]}, "reference"),
        ({"scores": [0.1, float("nan"), 0.3]}, "scores"),
        ({"scores": [0.1, 0.2]}, "scores"),
        ({"scores": []}, "scores"),
        ({"population": 2}, "population"),
        ({"population": 9, "inclusion": [0.5, 0.5, 0.5], "least_inclusion": 0.5}, "population"),
        ({"inclusion": [0.5, 0.1, 0.5], "least_inclusion": 0.5}, "inclusion"),
        ({"inclusion": [0.5, 0.5], "least_inclusion": 0.5}, "scores"),
        ({"grid": [float("inf")]}, "grid"),
    ],
)
def test_impossible_input_is_refused_by_name(change: dict[str, object], field: str) -> None:
    good: dict[str, object] = {
        "scores": [0.1, 0.2, 0.3], "weak": [0.0, 1.0, 1.0], "reference": [1.0, 1.0, 1.0], "epsilon": 0.05, "delta": 0.1
    }  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        certify(**(good | change))  # type: ignore[arg-type]
    assert caught.value.details["field"] == field
