"""The main story: decide on a plan, climb its rungs until an answer is good enough, tell how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.cascade import Move, Step, next_rung
from orchestrator.core.errors import AllRungsFailed, BudgetExceeded
from orchestrator.core.types import Answer, Attempt, Decision, Reply, Request
from orchestrator.flow.attempt import attempt
from orchestrator.flow.decide import decide
from orchestrator.ports import Deps
from registry.schema import Billing

# A caller waits for this answer: one short pause before the last model is asked once more.
_RETRY_WAIT_S = 0.25


async def route(deps: Deps, request: Request) -> Answer:
    """Raises NotEligible, NoModelAvailable, BudgetExceeded, LedgerUnavailable, DeadlineExceeded, AllRungsFailed."""
    started = deps.clock.monotonic()
    decision = await decide(deps, request)
    attempts: list[Attempt] = []
    replies: list[Reply | None] = []
    while (step := next_rung(decision.plan, attempts)).rung is not None:
        if step.move is Move.RETRY:
            await deps.clock.sleep(_RETRY_WAIT_S)
        elapsed_s = deps.clock.monotonic() - started
        try:
            ended, reply = await attempt(deps, request, decision, step.rung, attempts, elapsed_s)
        except BudgetExceeded:
            decision = free_rungs_after(deps, decision, step.rung)
            if step.rung >= len(decision.plan.rungs):
                raise
            continue
        attempts.append(ended)
        replies.append(reply)
    return _answer(request, decision, step, attempts, replies, (deps.clock.monotonic() - started) * 1000)


def free_rungs_after(deps: Deps, decision: Decision, refused: int) -> Decision:
    """The plan without its refused rung and the paid ones after it: our own machines cost no budget."""
    registry, plan = deps.fleet.registry(), decision.plan
    later = (rung for rung in plan.rungs[refused + 1 :] if registry.get(rung.model_id).billing is Billing.NONE)
    return replace(decision, plan=replace(plan, rungs=(*plan.rungs[:refused], *later)))


def _answer(
    request: Request,
    decision: Decision,
    step: Step,
    attempts: Sequence[Attempt],
    replies: Sequence[Reply | None],
    latency_ms: float,
) -> Answer:
    reply = replies[step.attempt] if step.attempt is not None else None
    if step.attempt is None or reply is None:
        raise all_failed(attempts)
    return Answer(
        request=request,
        reply=reply,
        decision=decision,
        attempts=tuple(attempts),
        answered_by=attempts[step.attempt],
        latency_ms=latency_ms,
    )


def all_failed(attempts: Sequence[Attempt]) -> AllRungsFailed:
    told = "; ".join(f"{a.model_id}: {a.error}" for a in attempts)
    story = [{"model": a.model_id, "code": a.error_code, "message": a.error} for a in attempts]
    return AllRungsFailed(f"every model of the plan failed. {told}", attempts=story)
