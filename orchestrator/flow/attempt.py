"""The atom: reserve → call → judge → settle. Every way out of it ends the attempt's money and writes its row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from orchestrator.core import instruct, transcript
from orchestrator.core.budget import affordable_output_tokens, hold_nanousd
from orchestrator.core.errors import (
    BudgetExceeded,
    CallBroken,
    CallFailed,
    DeadlineExceeded,
    InferenceFailed,
    LedgerUnavailable,
    NotEligible,
    usd,
)
from orchestrator.core.routing import cascade
from orchestrator.core.routing.cascade import Move
from orchestrator.core.routing.score import stated_latency_ms, stated_output_tokens
from orchestrator.core.types import Attempt, Call, Decision, Ending, Hold, Inference, Reply, Request
from orchestrator.flow import structured
from orchestrator.flow.verify import judged
from orchestrator.ports import Deps, Presence
from registry.pricing import cost_nanousd
from registry.schema import Billing, Card, Task

# Why a rung may not be called although the plan names it: no budget, no time, nothing left of max_cost.
Refusals = (BudgetExceeded, DeadlineExceeded, NotEligible)
# Fewer hold no answer; a paid call for them would be waste.
_LEAST_OUTPUT_TOKENS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """An attempt that has its money set aside and has not called yet."""

    request: Request
    decision: Decision
    card: Card
    rung: int
    call: Call
    hold_nanousd: int
    started_at: datetime
    started_s: float


async def open_attempt(
    deps: Deps, request: Request, decision: Decision, rung: int, earlier: Sequence[Attempt], elapsed_s: float
) -> Opened:
    """Reserves what the call could cost at most. Raises `Refusals` and LedgerUnavailable; nothing is spent then."""
    card = deps.fleet.registry().get(decision.plan.rungs[rung].model_id)
    now = deps.clock.now()
    call = _call(deps, request, card, deps.clock.new_id(), elapsed_s)
    call = _within_max_cost(request, card, call, earlier, now)
    amount = hold_nanousd(card, call, now)
    if amount:
        await deps.ledger.reserve(_hold(request, card, call.attempt_id, amount))
    return Opened(
        request=request,
        decision=decision,
        card=card,
        rung=rung,
        call=call,
        hold_nanousd=amount,
        started_at=now,
        started_s=deps.clock.monotonic(),
    )


async def attempt(
    deps: Deps,
    request: Request,
    decision: Decision,
    rung: int,
    earlier: Sequence[Attempt],
    replies: Sequence[Reply | None],
    elapsed_s: float,
    presence: Presence | None = None,
) -> tuple[Attempt, Reply | None]:
    """One call of one rung, whole. A failed call is an attempt with an error; other errors are raised."""
    opened = await open_attempt(deps, request, decision, rung, earlier, elapsed_s)
    waits = presence if opened.card.billing is Billing.NONE else None
    try:
        with waits.may_leave() if waits is not None else nullcontext():
            reply = await structured.complete(deps.providers[opened.card.provider], opened.card, opened.call)
    except CallFailed as failure:
        return await fail_attempt(deps, opened, failure), None
    except BaseException as error:
        await abandon_attempt(deps, opened, error)
        raise
    if instruct.needed(opened.card, request.task):
        return await _settle_instructed(deps, opened, reply, earlier, replies)
    return await settle_attempt(deps, opened, reply, earlier, replies), reply


async def _settle_instructed(
    deps: Deps, opened: Opened, reply: Reply, earlier: Sequence[Attempt], replies: Sequence[Reply | None]
) -> tuple[Attempt, Reply | None]:
    """An answer in words is read back as the task's; one that cannot be read has failed, and cost what it cost."""
    read = instruct.classified(reply, opened.request)
    if read is not None:
        return await settle_attempt(deps, opened, read, earlier, replies), read
    cost = cost_nanousd(opened.card, reply.usage, opened.started_at)
    told = f"{opened.card.id} answered something else than the labels asked for: {(reply.text or '')[:200]!r}"
    ended = replace(_ended(deps, opened, Ending.SETTLED, cost), usage=reply.usage)
    ended = replace(ended, error_code=CallBroken.code, error=told)
    await _finish(deps, opened, ended, reply)
    return ended, None


async def settle_attempt(
    deps: Deps,
    opened: Opened,
    reply: Reply,
    earlier: Sequence[Attempt],
    replies: Sequence[Reply | None],
    *,
    said: bool = False,
) -> Attempt:
    """The call answered: its cost is known. Judges, and tells whether this answer is the one served: it is good
    enough, the best that is left, or already `said` in a stream."""
    cost = cost_nanousd(opened.card, reply.usage, opened.started_at)
    ended = replace(_ended(deps, opened, Ending.SETTLED, cost), usage=reply.usage)
    _observe(deps, opened, ended, reply)
    said_before = [each for each in replies if each is not None]
    try:
        grade, verified_nanousd = await judged(deps, opened.request, opened.decision, opened.rung, reply, said_before)
    except asyncio.CancelledError:  # the caller left while a model read the answer: what it cost is known all the same
        with suppress(LedgerUnavailable):
            await asyncio.shield(asyncio.ensure_future(_finish(deps, opened, ended, reply)))
        raise
    ended = replace(ended, quality=grade, cost_nanousd=cost + verified_nanousd)
    step = cascade.next_rung(opened.decision.plan, (*earlier, ended))
    served = said or (step.move in (Move.ACCEPT, Move.SETTLE_FOR) and step.attempt == len(earlier))
    ended = replace(ended, accepted=served)
    await _finish(deps, opened, ended, reply)
    return ended


async def fail_attempt(deps: Deps, opened: Opened, failure: CallFailed, partial: Reply | None = None) -> Attempt:
    """The call failed: released where provably unbilled, else lapsed, which counts as spent."""
    free = failure.unbilled or opened.hold_nanousd == 0
    ending, cost = (Ending.RELEASED, 0) if free else (Ending.LAPSED, opened.hold_nanousd)
    ended = replace(_ended(deps, opened, ending, cost), error_code=_code(failure), error=failure.message)
    await _finish(deps, opened, ended, partial)
    return ended


async def abandon_attempt(deps: Deps, opened: Opened, cause: BaseException) -> None:
    """Nobody waits any more, or a bug of ours; the provider may have billed: lapse, even while being cancelled."""
    ending, cost = (Ending.LAPSED, opened.hold_nanousd) if opened.hold_nanousd else (Ending.RELEASED, 0)
    left = isinstance(cause, asyncio.CancelledError | GeneratorExit)
    code, error = ("abandoned", "the caller left") if left else ("internal", f"{type(cause).__name__}: {cause}")
    ended = replace(_ended(deps, opened, ending, cost), error_code=code, error=error)
    with suppress(LedgerUnavailable):  # the sweeper lapses what cannot be recorded now
        await asyncio.shield(asyncio.ensure_future(_finish(deps, opened, ended, None)))


def _observe(deps: Deps, opened: Opened, ended: Attempt, reply: Reply) -> None:
    """Tells the fleet how this call compares to what `score` states; a wait for its turn or its weights is not the
    model's."""
    if opened.request.task is not Task.GENERATE or not reply.usage.output_tokens:
        return
    waited_ms = reply.timings_ms.get("queue_wait", 0.0) + reply.timings_ms.get("load", 0.0)
    worked_ms = max(1.0, ended.latency_ms - waited_ms)
    complexity, options = opened.decision.plan.complexity, opened.request.options
    deps.fleet.observe(
        opened.card.id,
        latency_ratio=worked_ms / stated_latency_ms(opened.card, reply.usage.output_tokens),
        output_ratio=reply.usage.output_tokens / stated_output_tokens(complexity, options),
    )


def _call(deps: Deps, request: Request, card: Card, attempt_id: UUID, elapsed_s: float) -> Call:
    local = card.billing is Billing.NONE
    timeout_s = deps.limits.local_timeout_s if local else deps.limits.call_timeout_s
    if request.constraints.deadline_ms is not None:
        left_s = request.constraints.deadline_ms / 1000 - elapsed_s
        if left_s <= 0:
            raise DeadlineExceeded(
                f"the deadline of {request.constraints.deadline_ms} ms passed after {elapsed_s * 1000:.0f} ms, "
                f"before {card.id} could be called. Allow more time or a smaller plan."
            )
        timeout_s = min(timeout_s, left_s)
    asked = request.options.max_tokens or deps.limits.default_max_tokens
    call = Call(
        attempt_id=attempt_id,
        model_id=card.id,
        api_model=card.api_model or card.id,
        task=request.task,
        messages=request.messages,
        texts=request.texts,
        query=request.query,
        media=request.media,
        options=request.options,
        max_tokens=min(asked, card.max_output_tokens or asked),
        timeout_s=timeout_s,
    )
    call = instruct.instructed(call) if instruct.needed(card, request.task) else call
    return replace(call, options=call.options.without(card.unsupported_options))


def _within_max_cost(request: Request, card: Card, call: Call, earlier: Sequence[Attempt], now: datetime) -> Call:
    """Output is cut to what is left of constraints.max_cost, so that the request cannot pass it."""
    limit = request.constraints.max_cost_nanousd
    if limit is None or card.billing is Billing.NONE or call.max_tokens is None:
        return call
    left = limit - sum(attempt.cost_nanousd for attempt in earlier)
    affordable = affordable_output_tokens(card, call, left, now)
    if affordable < min(call.max_tokens, _LEAST_OUTPUT_TOKENS):
        reason = f"{usd(left)} is left of constraints.max_cost_usd, too little for {card.id} to say anything"
        raise NotEligible(f"{reason}. Allow more, or a shorter input.", candidates={card.id: reason})
    return replace(call, max_tokens=affordable)


def _code(failure: CallFailed) -> str:
    """The worker's own, where one answered: it tells a bad input, a load that failed and too little memory apart."""
    return failure.worker_code if isinstance(failure, InferenceFailed) else failure.code


def _hold(request: Request, card: Card, attempt_id: UUID, amount_nanousd: int) -> Hold:
    return Hold(
        attempt_id=attempt_id,
        request_id=request.id,
        amount_nanousd=amount_nanousd,
        model_id=card.id,
        provider=card.provider,
        task=request.task,
        caller=request.caller,
        tags=request.tags,
    )


def _ended(deps: Deps, opened: Opened, ending: Ending, cost: int) -> Attempt:
    return Attempt(
        id=opened.call.attempt_id,
        rung=opened.rung,
        model_id=opened.card.id,
        tier=opened.card.tier,
        ending=ending,
        hold_nanousd=opened.hold_nanousd,
        cost_nanousd=cost,
        latency_ms=(deps.clock.monotonic() - opened.started_s) * 1000,
    )


async def _finish(deps: Deps, opened: Opened, ended: Attempt, reply: Reply | None) -> None:
    keep = deps.limits.store_texts
    await deps.ledger.finish(
        Inference(
            attempt=ended,
            request=opened.request,
            decision=opened.decision,
            provider=opened.card.provider,
            created_at=opened.started_at,
            finish_reason=reply.finish_reason if reply else None,
            input_text=transcript.input_text(opened.request) if keep else None,
            output_text=transcript.output_text(reply) if keep and reply else None,
        )
    )
