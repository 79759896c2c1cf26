"""What a quality contract says of one request: its standing, and the models it leaves. It chooses no other plan."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.core.contract.certificate import Contract, Reads, State, decide
from orchestrator.core.routing.score import Read
from orchestrator.core.types import Promise

_SCORE_DIGITS = 6  # labels keep scores so; a request just at the threshold must fall on the same side


def promised(
    contract: Contract, read: Read, ready: Collection[str], *, judge: str | None, streamed: bool
) -> tuple[Promise, tuple[str, ...] | None]:
    """The promise, and the models in the order they are asked, the reference last; None where the contract cannot be
    kept because its reference may not be called. `ready` are the models that may be called now."""
    gain = read.gain_of(contract.scorer) if contract.reads is Reads.QUERY else None
    score = None if gain is None else round(gain, _SCORE_DIGITS)
    scored_alike = score is not None if contract.reads is Reads.QUERY else contract.scorer == judge
    promise = _told(contract, score, scored_alike=scored_alike, kept=contract.reference in ready)
    if not promise.kept:
        return promise, None
    cheap = (*contract.compared, contract.weak)
    if scored_alike and _lets(contract, score, streamed=streamed) and all(model in ready for model in cheap):
        return promise, (*cheap, contract.reference)
    return promise, (contract.reference,)


def _lets(contract: Contract, score: float | None, *, streamed: bool) -> bool:
    """Whether a cheap model may answer. One that reads the answer cannot read what is heard while it is said."""
    if contract.reads is Reads.QUERY:
        return score is not None and decide(contract.certificate, score) == "weak"
    return contract.state is State.MET and not streamed


def _told(contract: Contract, score: float | None, *, scored_alike: bool, kept: bool) -> Promise:
    certificate, met = contract.certificate, contract.state is State.MET
    threshold = certificate.threshold if contract.reads is Reads.QUERY else -certificate.threshold
    return Promise(
        task_class=contract.task_class,
        state=contract.state if scored_alike or not met else State.UNCERTIFIED,
        epsilon=certificate.epsilon,
        delta=certificate.delta,
        weak=contract.weak,
        reference=contract.reference,
        version=contract.version,
        kept=kept,
        reads=contract.reads,
        scorer=contract.scorer,
        score=score,
        threshold=threshold if met else None,
        more_labels=certificate.more_labels,
    )
