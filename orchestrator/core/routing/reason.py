"""Says in words why a plan is what it is. It only reads what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.core.contract.certificate import Reads, State
from orchestrator.core.routing.score import Read, seen
from orchestrator.core.types import Features, Promise
from registry.schema import Card


def why_ordered(read: Read, ordered: Sequence[Card]) -> str:
    """ "high (code, 3 constraints, about 90 tokens): premium first, then gpt-4o; of 14 past prompts like this …" """
    first, *later = ordered
    told = f"{_class(read)}: {first.tier} first"
    if later:
        told += f", then {', '.join(card.id for card in later)}"
    return told + _experience(read, ordered)


def why_first(read: Read, cards: Sequence[Card], promise: Promise) -> str:
    """What the contract of the task class said."""
    share = f"{1 - promise.epsilon:.1%} of {promise.reference}'s quality"
    if len(cards) > 1 and promise.reads == Reads.ANSWER:
        asked = " and ".join(card.id for card in cards[:-1])
        told = f"{asked} first: the contract ({share}) accepts answers graded above {promise.threshold:.3f}"
        return f"{_class(read)}: {told}{_experience(read, cards)}"
    if len(cards) > 1:
        told = f"the contract ({share}) is met at score {promise.score:+.3f} < {promise.threshold:+.3f}"
        return f"{_class(read)}: {cards[0].id} first, {told}{_experience(read, cards)}"
    return f"{_class(read)}: {cards[0].id}, {_why_reference(promise, share)}"


def _why_reference(promise: Promise, share: str) -> str:
    if promise.state == State.MET and promise.reads == Reads.ANSWER:
        why = "a streamed answer cannot be read first, or a cheap model it needs cannot be called now"
        return f"the contract ({share}) would read {promise.weak}'s answer first, and cannot: {why}"
    if promise.state == State.MET and promise.threshold is not None and promise.score is not None:
        if promise.score >= promise.threshold:
            return (
                f"the contract ({share}) sends scores from {promise.threshold:+.3f} to it, this is {promise.score:+.3f}"
            )
        return f"the contract ({share}) would let {promise.weak} answer, which cannot be called now"
    if promise.state == State.UNCERTIFIED:
        more = f": about {promise.more_labels} more labels" if promise.more_labels else ""
        return f"the contract ({share}) is uncertified{more}"
    if promise.state == State.REVOKED:
        return f"the contract ({share}) was revoked: live labels refuted it"
    return f"no cheaper model is known to keep the contract ({share})"


def _class(read: Read) -> str:
    signals = ", ".join(_signals(read.features))
    return f"{read.complexity}{f' ({signals})' if signals else ''}"


def _experience(read: Read, cards: Sequence[Card]) -> str:
    """Of the model that most is known of, and among those of the one that failed most."""
    (times, failed), model = max((seen(read.neighbours, card.id), card.id) for card in cards)
    if not times:
        return ""
    prompts = "prompt" if times == 1 else "prompts"
    return f"; of {times} past {prompts} like this {model} failed {failed}"


def _signals(features: Features) -> Iterable[str]:
    for name in ("code", "maths", "creative", "brand", "reasoning"):
        if getattr(features, name) >= 0.3:
            yield name
    if features.ambiguity == 1.0:
        yield "ambiguous"
    if features.tools:
        yield "tools"
    if features.constraints:
        yield f"{features.constraints} constraint{'s' if features.constraints > 1 else ''}"
    yield f"about {features.tokens} tokens"
