"""What follows an attempt, read from the attempts alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.routing.cascade import Move, Step, next_rung
from orchestrator.core.types import Attempt, Complexity, Ending, Plan, QualityScore, Rung
from registry.schema import Tier
from tests.samples import new_id

CODES = ("rate_limited", "provider_unreachable", "provider_error", "timeout", "provider_rejected", "provider_key")


def plan(rungs: int, threshold: float = 0.5) -> Plan:
    models = tuple(Rung(model_id=f"m{n}", threshold=threshold) for n in range(rungs))
    return Plan(rungs=models, complexity=Complexity.SIMPLE, reason="for a test")


def attempt(rung: int, outcome: float | str) -> Attempt:
    """A quality when it answered, an error code when it failed."""
    failed = isinstance(outcome, str)
    return Attempt(
        id=new_id(),
        rung=rung,
        model_id=f"m{rung}",
        tier=Tier.MID,
        ending=Ending.RELEASED if failed else Ending.SETTLED,
        hold_nanousd=10,
        cost_nanousd=0,
        latency_ms=1.0,
        quality=None if isinstance(outcome, str) else QualityScore(value=outcome),
        error_code=outcome if isinstance(outcome, str) else None,
    )


def after(rungs: int, *outcomes: tuple[int, float | str]) -> Step:
    return next_rung(plan(rungs), [attempt(*outcome) for outcome in outcomes])


@pytest.mark.parametrize(
    ("rungs", "outcomes", "expected"),
    [
        (2, (), Step(move=Move.START, rung=0)),
        (2, ((0, 0.5),), Step(move=Move.ACCEPT, attempt=0)),
        (2, ((0, 0.49),), Step(move=Move.ESCALATE, rung=1)),
        (2, ((0, "timeout"),), Step(move=Move.FALL_BACK, rung=1)),
        (2, ((0, 0.4), (1, 0.9)), Step(move=Move.ACCEPT, attempt=1)),
        (2, ((0, 0.4), (1, 0.3)), Step(move=Move.SETTLE_FOR, attempt=0)),
        (2, ((0, 0.4), (1, 0.4)), Step(move=Move.SETTLE_FOR, attempt=0)),
        (2, ((0, 0.2), (1, 0.3)), Step(move=Move.SETTLE_FOR, attempt=1)),
        (2, ((0, 0.0), (1, "timeout")), Step(move=Move.SETTLE_FOR, attempt=0)),
        (2, ((0, "timeout"), (1, "timeout")), Step(move=Move.RETRY, rung=1)),
        (2, ((0, "timeout"), (1, "timeout"), (1, "timeout")), Step(move=Move.GIVE_UP)),
        (2, ((0, "timeout"), (1, "timeout"), (1, 0.1)), Step(move=Move.SETTLE_FOR, attempt=2)),
        (1, ((0, "provider_rejected"),), Step(move=Move.GIVE_UP)),
        (1, ((0, "provider_key"),), Step(move=Move.GIVE_UP)),
        (1, ((0, "inference_failed"),), Step(move=Move.GIVE_UP)),
        (1, ((0, "rate_limited"),), Step(move=Move.RETRY, rung=0)),
    ],
)
def test_each_move_follows_from_the_attempts(
    rungs: int, outcomes: tuple[tuple[int, float | str], ...], expected: Step
) -> None:
    assert after(rungs, *outcomes) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (0.9, Step(move=Move.ACCEPT, attempt=0)),
        (0.4, Step(move=Move.SETTLE_FOR, attempt=0)),
        (0.2, Step(move=Move.ESCALATE, rung=1)),
        ("timeout", Step(move=Move.FALL_BACK, rung=1)),
    ],
)
def test_a_rung_for_failures_is_not_climbed_for_a_mediocre_answer(outcome: float | str, expected: Step) -> None:
    rungs = (Rung(model_id="m0", threshold=0.5), Rung(model_id="m1", threshold=0.5, fallback=True))
    told = Plan(rungs=rungs, complexity=Complexity.HIGH, reason="for a test")
    assert next_rung(told, [attempt(0, outcome)]) == expected


OUTCOMES = st.lists(st.floats(0, 1) | st.sampled_from(CODES), min_size=12, max_size=12)


@given(rungs=st.integers(1, 5), outcomes=OUTCOMES)
def test_climbing_ends_and_never_repeats_a_settled_rung(rungs: int, outcomes: list[float | str]) -> None:
    waiting, attempts = iter(outcomes), list[Attempt]()
    while (step := next_rung(plan(rungs), attempts)).rung is not None:
        answered = {a.rung for a in attempts if a.error_code is None}
        assert step.rung not in answered
        assert step.rung < rungs
        attempts.append(attempt(step.rung, next(waiting)))
    assert len(attempts) <= rungs + 1
    assert [a.rung for a in attempts] == sorted(a.rung for a in attempts)
    if step.move is Move.GIVE_UP:
        assert all(a.error_code for a in attempts)
    else:
        assert step.attempt is not None
        assert attempts[step.attempt].error_code is None


@given(rungs=st.integers(1, 4), outcomes=OUTCOMES)
def test_reading_the_same_attempts_again_resumes_at_the_same_step(rungs: int, outcomes: list[float | str]) -> None:
    attempts = [attempt(n, outcome) for n, outcome in enumerate(outcomes[:rungs])]
    assert next_rung(plan(rungs), attempts) == next_rung(plan(rungs), tuple(attempts))
