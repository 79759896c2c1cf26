"""The main story: decide on a plan, climb its rungs until an answer is good enough, tell how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.errors import AllRungsFailed, BudgetExceeded, DeadlineExceeded, PennyrouteError
from orchestrator.core.routing.cascade import Move, Step, next_rung
from orchestrator.core.types import Answer, Attempt, Decision, Reply, Request
from orchestrator.flow.attempt import Refusals, attempt
from orchestrator.flow.decide import decide, remember, ruled
from orchestrator.ports import Deps, Presence
from registry.schema import Billing

# A caller waits for this answer: one short pause before the last model is asked once more.
_RETRY_WAIT_S = 0.25


async def route(deps: Deps, request: Request, presence: Presence | None = None) -> Answer:
    """Raises ModelNotFound, NotEligible, NoModelAvailable, BudgetExceeded, LedgerUnavailable, DeadlineExceeded,
    AllRungsFailed. Where a rung may not be called, the best answer so far is served. A call of our own machines ends
    with its caller's `presence`; a paid one goes on, as it is paid for."""
    started = deps.clock.monotonic()
    request = await ruled(deps, request)
    decision = await decide(deps, request)
    attempts: list[Attempt] = []
    replies: list[Reply | None] = []
    while (step := next_rung(decision.plan, attempts)).rung is not None:
        if step.move is Move.RETRY:
            await deps.clock.sleep(_RETRY_WAIT_S)
        elapsed_s = deps.clock.monotonic() - started
        try:
            ended, reply = await attempt(deps, request, decision, step.rung, attempts, replies, elapsed_s, presence)
        except Refusals as refusal:
            decision = without_refused(deps, decision, step.rung, refusal)
            answered = any(reply is not None for reply in replies)
            if step.rung >= len(decision.plan.rungs) and not answered:
                raise
            continue
        attempts.append(ended)
        replies.append(reply)
    answer = _answer(request, decision, step, attempts, replies, (deps.clock.monotonic() - started) * 1000)
    await remember(deps, answer)
    return answer


def without_refused(deps: Deps, decision: Decision, refused: int, refusal: PennyrouteError) -> Decision:
    """The plan without its refused rung and those after it that fall with it: all when the deadline passed, the
    paid ones when a budget is spent (our own machines cost none), no other when one is too dear."""
    registry, plan = deps.fleet.registry(), decision.plan
    later = plan.rungs[refused + 1 :]
    if isinstance(refusal, DeadlineExceeded):
        later = ()
    if isinstance(refusal, BudgetExceeded):
        later = tuple(rung for rung in later if registry.get(rung.model_id).billing is Billing.NONE)
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
        raise decision.plan.beyond or all_failed(attempts)
    return Answer(
        request=request,
        reply=reply,
        decision=decision,
        attempts=tuple(attempts),
        answered_by=attempts[step.attempt],
        latency_ms=latency_ms,
    )


def all_failed(attempts: Sequence[Attempt]) -> AllRungsFailed:
    told = "; ".join(_named(a.model_id, a.error) for a in attempts)
    story = [{"model": a.model_id, "code": a.error_code, "message": a.error} for a in attempts]
    return AllRungsFailed(f"every model of the plan failed. {told}", attempts=story)


def _named(model_id: str, error: str | None) -> str:
    """Many an adapter names the model itself: once is enough."""
    return error if error and error.startswith(f"{model_id}:") else f"{model_id}: {error}"
