"""Takes in a judged request: kept once, learned from, and held against the contract it was answered under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from orchestrator.core.contract.certificate import Contract, State, revoke
from orchestrator.core.contract.watch import Watch
from orchestrator.core.errors import InvalidInput, NotFound
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.transcript import last_ask
from orchestrator.ports import Deps, Label


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A label as it was kept, whether it was new, and how the contract it speaks of stands after it: `contract` and
    `watch` are None where it speaks of none (no outcome of the model served or of the reference, no contract in
    force, or a label whose inclusion is lower than the watch was started for)."""

    label: Label
    new: bool
    contract: Contract | None = None
    watch: Watch | None = None


async def label(deps: Deps, given: Label) -> Standing:
    """Given a request id, an empty `task_class` and what else is None is read from the log. A label of a known id
    changes nothing, and of all labels of a request the first speaks of its contract. Raises InvalidInput, NotFound
    (no such request of this tenant), StoreUnavailable."""
    _check(given)
    known = await _completed(deps, given)
    kept = known if deps.limits.store_texts else replace(known, text=None, answers={})
    new = await deps.labels.add(kept)
    if new and known.text:
        await deps.neighbours.learn(known.tenant, known)
    return await _watched(deps, kept, new)


async def standings(deps: Deps) -> Sequence[tuple[Contract, Watch | None]]:
    """Every contract of the active policy with the watch on it; no watch where it never was in force."""
    contracts = (await deps.policies.current()).contracts
    return [(contract, await deps.labels.watched(in_force(contract).version)) for contract in contracts]


def in_force(contract: Contract) -> Contract:
    """The contract as it was before it was revoked: its version is what answers, labels and its watch name."""
    return replace(contract, certificate=replace(contract.certificate, state=State.MET))


def first_watch(contract: Contract, least_inclusion: float = 1.0) -> Watch:
    """A contract that is kept is revoked with probability at most its own delta, however long it is watched."""
    certificate = contract.certificate
    return Watch(epsilon=certificate.epsilon, alpha=certificate.delta, least_inclusion=least_inclusion)


def _check(given: Label) -> None:
    if not given.outcomes:
        raise InvalidInput("a label needs the quality of one model's answer at least.", field="outcomes")
    for model, quality in given.outcomes.items():
        if not 0 <= quality <= 1:
            told = f"the quality of {model!r} is {quality}; give a share from 0 (useless) to 1 (as good as can be)."
            raise InvalidInput(told, field=f"outcomes.{model}")
    if not 0 < given.inclusion <= 1:
        told = f"inclusion is {given.inclusion}; give the probability with which this request was chosen, up to 1."
        raise InvalidInput(told, field="inclusion")


async def _completed(deps: Deps, given: Label) -> Label:
    """With its moment, and what the log knows of its request."""
    given = replace(given, created_at=given.created_at or deps.clock.now())
    if given.request_id is not None:
        rows = await deps.inferences.of_request(given.request_id)
        mine = [row for row in rows if row["tenant"] == given.tenant]
        if not mine:
            raise NotFound(f"no inference {given.request_id}; a label names the id of an answer or of an attempt.")
        given = _with_log(given, _served(mine), mine)
    if not given.task_class:
        told = "a label needs the task class it is about, or the request_id of an answer, whose log tells it."
        raise InvalidInput(told, field="task_class")
    return given


def _served(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The attempt whose answer the caller got: the accepted one, else the best that answered."""
    return max(rows, key=lambda row: (bool(row["accepted"]), row["error_code"] is None, row["quality_score"] or 0.0))


def _with_log(given: Label, row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Label:
    promise: Mapping[str, Any] = row["contract"] or {}
    return replace(
        given,
        request_id=UUID(str(row["request_id"])),
        task_class=given.task_class or row["task_class"] or row["complexity"],
        text=given.text or (last_ask(row["input"]) if row["input"] else None),
        answers={**{each["model_id"]: each["output"] for each in rows if each["output"]}, **given.answers},
        score=promise.get("score"),
        scorer=promise.get("scorer") or row["scorer"],
        served=row["model_id"] if row["error_code"] is None else None,
        contract_version=promise.get("version") if promise.get("kept") else None,
    )


async def _watched(deps: Deps, kept: Label, new: bool) -> Standing:
    """The label held against the contract it was answered under, if that is in force. A label that is sent again makes
    up for what a killed process left undone: its request is observed once, and a revocation looked at every time."""
    contracts = (await deps.policies.current()).contracts
    contract = next((each for each in contracts if each.version == kept.contract_version), None)
    if contract is None or contract.state is not State.MET or not _speaks_of(kept, contract):
        return Standing(label=kept, new=new)
    version, began = contract.version, first_watch(contract, kept.inclusion)
    reference = contract.reference
    watch = await deps.labels.watch(version, lambda seen: _after(seen or began, kept, reference), once=kept.request_id)
    if kept.inclusion < watch.least_inclusion:
        return Standing(label=kept, new=new)
    if watch.revoked:
        await deps.policies.change(lambda active: without(active, version), by="watch")
        contract = revoke(contract)
    return Standing(label=kept, new=new, contract=contract, watch=watch)


def without(policy: RoutingPolicy, version: str) -> RoutingPolicy:
    """The policy with its contract of this version revoked; as it is where it has none."""
    if all(contract.version != version for contract in policy.contracts):
        return policy
    contracts = tuple(revoke(each) if each.version == version else each for each in policy.contracts)
    return replace(policy, contracts=contracts)


def _speaks_of(kept: Label, contract: Contract) -> bool:
    return kept.served in kept.outcomes and contract.reference in kept.outcomes


def _after(watch: Watch, kept: Label, reference: str) -> Watch:
    """A row less likely to be labelled than the watch was started for would weigh more than it may: it is let be."""
    if kept.served is None or kept.inclusion < watch.least_inclusion:
        return watch
    served, best = kept.outcomes[kept.served], kept.outcomes[reference]
    return watch.observe(served=served, reference=best, inclusion=kept.inclusion)
