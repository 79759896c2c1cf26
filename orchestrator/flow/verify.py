"""Gathers what is known of a reply beside its text before it is judged; asks a model only where that could matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.contract.certificate import Reads
from orchestrator.core.errors import CallFailed
from orchestrator.core.quality.judge import Evidence, Judge
from orchestrator.core.reading import features
from orchestrator.core.routing.score import seen
from orchestrator.core.types import Call, Decision, QualityScore, Reply, Request
from orchestrator.ports import Deps
from registry.load import UnknownModel
from registry.pricing import cost_nanousd
from registry.schema import Billing, Card, Task

# The caller waits for it: an embedding of both texts takes tens of milliseconds where its queue is short.
RELEVANCE_TIMEOUT_S = 0.25
_COMPARED_CHARACTERS = 4_000  # the models read a few hundred tokens of each
_ENOUGH_NEIGHBOURS = 5


async def judged(
    deps: Deps,
    request: Request,
    decision: Decision,
    rung: int,
    reply: Reply,
    earlier_replies: Sequence[Reply],
) -> tuple[QualityScore, int]:
    """The reply's grade, and what its verification cost in nano-dollars. The signals tell how long that took."""
    judge = deps.judge
    if request.task is not Task.GENERATE:
        return judge(request, reply), 0
    if decision.plan.promise is not None and decision.plan.promise.reads == Reads.ANSWER:
        # Graded as it was when the contract was certified: by the answers alone.
        return judge(request, reply, Evidence(earlier=tuple(earlier_replies))), 0
    found, cost, latency_ms = await evidence(deps, request, decision, rung, reply, earlier_replies, judge)
    grade = judge(request, reply, found)
    if found.relevance is not None:
        grade = replace(grade, signals={**grade.signals, "relevance_ms": round(latency_ms, 1)})
    return grade, cost


async def evidence(
    deps: Deps,
    request: Request,
    decision: Decision,
    rung: int,
    reply: Reply,
    earlier_replies: Sequence[Reply],
    judge: Judge,
) -> tuple[Evidence, int, float]:
    """What is known of the reply, its cost in nano-dollars and the milliseconds it took. Raises nothing of a call: a
    reranker that fails or is late is one that was not asked."""
    relevance, cost, latency_ms = None, 0, 0.0
    card = _reranker(deps, judge)
    if card is not None and _may_escalate(decision, rung):
        threshold = decision.plan.rungs[rung].threshold
        if judge.relevance_counts(request, reply, threshold):
            relevance, cost, latency_ms = await _relevance(deps, card, request, reply)
    model_id = decision.plan.rungs[rung].model_id
    return (
        Evidence(
            earlier=tuple(earlier_replies),
            relevance=relevance,
            relevance_by=card.id if card is not None and relevance is not None else None,
            mean_logprob=reply.mean_logprob,
            neighbours=_neighbours(decision, model_id),
            predicted=next((score.p_adequate for score in decision.scores if score.model_id == model_id), None),
        ),
        cost,
        latency_ms,
    )


def _may_escalate(decision: Decision, rung: int) -> bool:
    return any(not later.fallback for later in decision.plan.rungs[rung + 1 :])


def _neighbours(decision: Decision, model_id: str) -> float | None:
    asked, failed = seen(decision.neighbours, model_id)
    return 1 - failed / asked if asked >= _ENOUGH_NEIGHBOURS else None


def _reranker(deps: Deps, judge: Judge) -> Card | None:
    """The best whose relevance the judge can read, of those that can be called now and cost nothing."""
    for name in judge.rerankers:
        try:
            card = deps.fleet.registry().get(name)
        except UnknownModel:
            continue
        callable_now = card.id not in deps.fleet.unavailable() and card.provider in deps.providers
        if callable_now and Task.RERANK in card.tasks and card.billing is Billing.NONE:
            return card
    return None


async def _relevance(deps: Deps, card: Card, request: Request, reply: Reply) -> tuple[float | None, int, float]:
    started, now = deps.clock.monotonic(), deps.clock.now()
    call = Call(
        attempt_id=deps.clock.new_id(),
        model_id=card.id,
        api_model=card.api_model or card.id,
        task=Task.RERANK,
        texts=((reply.text or "")[:_COMPARED_CHARACTERS],),
        query=features.ask_of(request)[:_COMPARED_CHARACTERS],
        timeout_s=RELEVANCE_TIMEOUT_S,
    )
    try:
        answer = await deps.providers[card.provider].complete(call)
    except CallFailed:
        return None, 0, (deps.clock.monotonic() - started) * 1000
    cost = cost_nanousd(card, answer.usage, now)
    return _score(answer.data), cost, (deps.clock.monotonic() - started) * 1000


def _score(ranked: Any) -> float | None:
    """The score of the one text ranked; None where the worker said anything else."""
    first = ranked[0] if isinstance(ranked, list) and ranked else None
    score = first.get("score") if isinstance(first, Mapping) else None
    return float(score) if isinstance(score, int | float) and 0 <= score <= 1 else None
