"""The story of a streamed answer: fails over before the first token and never after; ends with the whole answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from orchestrator.core.errors import CallBroken, CallFailed
from orchestrator.core.types import Answer, Attempt, Decision, FinishReason, Reply, Request
from orchestrator.flow.attempt import Opened, Refusals, abandon_attempt, fail_attempt, open_attempt, settle_attempt
from orchestrator.flow.decide import decide, remember, ruled
from orchestrator.flow.route import all_failed, without_refused
from orchestrator.ports import Deps
from registry.schema import Usage


async def stream(deps: Deps, request: Request) -> AsyncGenerator[str | Decision | Answer, None]:
    """Yields the decision, then pieces of text, then the answer. Raises as `route` does, and CallBroken when
    the stream is cut after its first token (`details["partial_text"]`).

    What has been said cannot be unsaid, so a streamed answer is judged but never escalated.
    """
    started = deps.clock.monotonic()
    request = await ruled(deps, request)
    decision = await decide(deps, request, streamed=True)
    yield decision
    attempts: list[Attempt] = []
    rung = 0
    while rung < len(decision.plan.rungs):
        try:
            elapsed_s = deps.clock.monotonic() - started
            opened = await open_attempt(deps, request, decision, rung, attempts, elapsed_s)
        except Refusals as refusal:
            decision = without_refused(deps, decision, rung, refusal)
            if rung >= len(decision.plan.rungs):
                raise
            continue
        said: list[str] = []
        reply: Reply | None = None
        try:
            async with deps.providers[opened.card.provider].stream(opened.call) as deltas:
                async for delta in deltas:
                    reply = delta.reply or reply
                    if delta.text:
                        said.append(delta.text)
                        yield delta.text
            if reply is None:
                raise CallBroken(f"{opened.card.id} ended its stream without a usage record")
        except CallFailed as failure:
            attempts.append(await fail_attempt(deps, opened, failure, _partial(said)))
            if said:
                raise _cut(opened, failure, said) from failure
            rung += 1
            continue
        except BaseException as error:
            await abandon_attempt(deps, opened, error)
            raise
        ended = await settle_attempt(deps, opened, reply, attempts, (), said=True)
        attempts.append(ended)
        answer = Answer(
            request=request,
            reply=reply,
            decision=decision,
            attempts=tuple(attempts),
            answered_by=ended,
            latency_ms=(deps.clock.monotonic() - started) * 1000,
        )
        await remember(deps, answer)
        yield answer
        return
    raise decision.plan.beyond or all_failed(attempts)


def _partial(said: list[str]) -> Reply | None:
    return Reply(usage=Usage(), text="".join(said), finish_reason=FinishReason.LENGTH) if said else None


def _cut(opened: Opened, failure: CallFailed, said: list[str]) -> CallBroken:
    message = f"the stream of {opened.card.id} was cut after {len(said)} pieces: {failure.message}"
    return CallBroken(message, partial_text="".join(said), attempt_id=str(opened.call.attempt_id))
