"""Makes a quality contract from labels and puts it in force; with `learn` it first learns a score from half of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from numpy.typing import ArrayLike

from orchestrator.core.contract import certificate as contracts
from orchestrator.core.contract.certificate import Contract, Reads, State
from orchestrator.core.errors import InvalidInput, NotFound
from orchestrator.core.quality.judge import Evidence, Judge
from orchestrator.core.reading import learn, predict
from orchestrator.core.reading.predict import Predictor
from orchestrator.core.replay import evaluate
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Message, Reply, Request
from orchestrator.flow.label import first_watch, in_force
from orchestrator.ports import Clock, Label, Labels, Policies
from registry.schema import Task, Usage

_SCORE_DIGITS = 6  # a request's score is rounded so, and so is a label's

Say = Callable[[str], None]


class Desk(Protocol):
    """The doors that certifying opens, and the judge that will grade the answers."""

    @property
    def clock(self) -> Clock: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def policies(self) -> Policies: ...
    @property
    def judge(self) -> Judge: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Promised:
    """What is to be promised of a task class: `weak` may answer where quality stays at least (1 − epsilon) ×
    `reference`'s, with probability 1 − delta over the labels. `reads` says what decides: the query, or the weak
    model's answer beside those of the models in `compared`."""

    task_class: str
    weak: str
    reference: str
    epsilon: float
    delta: float
    reads: Reads = Reads.QUERY
    compared: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Certified:
    """A contract that is not in force yet, and how it came about. `artefact` and `figures` (before and after, on the
    labels that certify) are there where a score was learned; `left_out` labels had no text and no score of this
    scorer; `least_inclusion` is the smallest chance any label had."""

    contract: Contract
    left_out: int
    least_inclusion: float
    artefact: bytes | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scored:
    scores: list[float]
    weak: list[float]
    reference: list[float]
    inclusion: list[float]


async def certify(
    desk: Desk,
    *,
    tenant: str | None,
    task_class: str,
    weak: str,
    reference: str,
    epsilon: float,
    delta: float,
    labels: Sequence[Label] | None = None,
    learn: bool = False,
    reads: Reads = Reads.QUERY,
    compared: tuple[str, ...] = (),
    by: str,
) -> Contract:
    """The contract in force, in place of the one of the same class and weak model. Labels: those given, else all of
    the class, of one tenant or of all (None). Raises InvalidInput, NotFound (no label has both outcomes)."""
    promised = Promised(
        task_class=task_class,
        weak=weak,
        reference=reference,
        epsilon=epsilon,
        delta=delta,
        reads=reads,
        compared=compared,
    )
    found = await desk.labels.of_class(tenant, task_class) if labels is None else labels
    return await put_in_force(desk, await certified(desk, promised, found, learned=learn), by)


async def certified(
    desk: Desk, promised: Promised, labels: Sequence[Label], *, learned: bool = False, say: Say = lambda _: None
) -> Certified:
    """What `certify` would put in force. Changes nothing; reading and learning run beside the event loop."""
    both = [
        each for each in _by_request(labels) if promised.weak in each.outcomes and promised.reference in each.outcomes
    ]
    if not both:
        raise NotFound(_nobody_judged(promised, labels))
    say(f"{len(both):,} of {len(labels):,} labels know both models' outcomes")
    if promised.reads is Reads.ANSWER:
        if learned:
            raise InvalidInput(
                "a score is learned from queries; a contract that reads answers needs none.", field="learn"
            )
        return await asyncio.to_thread(_graded, desk.judge, promised, both, desk.clock.now(), say)
    version = None if learned else (await desk.policies.current()).scorer
    predictor = await desk.policies.predictor(version)  # what is learned starts from the shipped one, each time
    make = _learned if learned else _measured
    return await asyncio.to_thread(make, predictor, promised, both, desk.clock.now(), say)


async def put_in_force(desk: Desk, made: Certified, by: str) -> Contract:
    """Activates a policy with this contract. One that live labels refuted before, word for word, stays revoked."""
    contract = made.contract
    if made.artefact is not None:
        await desk.policies.keep_predictor(made.artefact, made.figures, by)
    if contract.state is State.MET:
        began = first_watch(contract, made.least_inclusion)
        watch = await desk.labels.watch(in_force(contract).version, lambda seen: seen or began)
        contract = contracts.revoke(contract) if watch.revoked else contract
    await desk.policies.change(lambda policy: with_contract(policy, contract), by)
    return contract


async def revoke(desk: Desk, *, task_class: str, weak: str | None = None, by: str) -> Sequence[Contract]:
    """Revokes the contracts of a class (of one weak model, or all) and returns them. Raises NotFound."""
    revoked: list[Contract] = []

    def rule(policy: RoutingPolicy) -> RoutingPolicy:
        named = [each for each in policy.contracts_of(task_class) if weak in (None, each.weak)]
        if not named:
            known = ", ".join(f"{each.task_class} ({each.weak})" for each in policy.contracts) or "none is made yet"
            raise NotFound(f"no contract of class {task_class!r}{f' and {weak}' if weak else ''}; there are: {known}.")
        revoked[:] = [contracts.revoke(each) for each in named]
        kept = tuple(contracts.revoke(each) if each in named else each for each in policy.contracts)
        return replace(policy, contracts=kept)

    await desk.policies.change(rule, by)
    return revoked


def with_contract(policy: RoutingPolicy, contract: Contract) -> RoutingPolicy:
    """In place of the contract of the same class and weak model, else after the others."""
    place = (contract.task_class, contract.weak)
    if any((each.task_class, each.weak) == place for each in policy.contracts):
        kept = tuple(contract if (each.task_class, each.weak) == place else each for each in policy.contracts)
    else:
        kept = (*policy.contracts, contract)
    return replace(policy, contracts=kept)


def halves(labels: Sequence[Label]) -> tuple[list[Label], list[Label]]:
    """To learn from, and to certify on. By a hash of the text: a label stays on its side however many join it, so what
    was learned from can never certify, and a prompt that was judged twice lies on one side."""
    taught = [bool(sha256((each.text or str(each.id)).encode("utf-8", "replace")).digest()[0] % 2) for each in labels]
    pairs = list(zip(labels, taught, strict=True))
    return [each for each, learned in pairs if learned], [each for each, learned in pairs if not learned]


def _measured(predictor: Predictor, promised: Promised, labels: Sequence[Label], now: datetime, say: Say) -> Certified:
    scored = _scored(predictor, promised, labels)
    if not scored.scores:
        told = f"none of {len(labels)} labels has a text, or a score of artefact {predictor.version}."
        raise InvalidInput(f"{told} Send labels with their text, or keep texts.", field="text")
    say(f"{len(scored.scores):,} labels read; walking the thresholds")
    return _certified(promised, scored, predictor.version, now, given=len(labels), grid=predictor.grid)


def _graded(judge: Judge, promised: Promised, labels: Sequence[Label], now: datetime, say: Say) -> Certified:
    """On how the weak model's answers are graded, as they will be in service: compared with the same models'."""
    asked = (promised.weak, *promised.compared)
    told = [each for each in labels if each.text and all(model in each.answers for model in asked)]
    if not told:
        raise InvalidInput(
            f"none of {len(labels)} labels has a text and the answers of {' and '.join(asked)}. Send labels of "
            "requests that asked them all, or with `answers`.",
            field="answers",
        )
    say(f"grading {len(told):,} answers of {promised.weak}")
    scored = _Scored(
        scores=[-_grade(judge, each, promised) for each in told],
        weak=[each.outcomes[promised.weak] for each in told],
        reference=[each.outcomes[promised.reference] for each in told],
        inclusion=[each.inclusion for each in told],
    )
    return _certified(promised, scored, judge.version, now, given=len(labels))


def _certified(
    promised: Promised, scored: _Scored, scorer: str, now: datetime, *, given: int, grid: ArrayLike | None = None
) -> Certified:
    least = min(scored.inclusion)
    certificate = contracts.certify(
        scored.scores,
        scored.weak,
        scored.reference,
        epsilon=promised.epsilon,
        delta=promised.delta,
        grid=grid,
        inclusion=scored.inclusion if least < 1 else None,
        least_inclusion=least,
    )
    contract = Contract(
        task_class=promised.task_class,
        weak=promised.weak,
        reference=promised.reference,
        scorer=scorer,
        certificate=certificate,
        certified_at=now,
        reads=promised.reads,
        compared=promised.compared if promised.reads is Reads.ANSWER else (),
    )
    return Certified(contract=contract, left_out=given - len(scored.scores), least_inclusion=least)


def _grade(judge: Judge, label: Label, promised: Promised) -> float:
    asked = Request(id=label.id, task=Task.GENERATE, messages=(Message(role="user", content=label.text or ""),))
    earlier = tuple(Reply(usage=Usage(), text=label.answers[model]) for model in promised.compared)
    reply = Reply(usage=Usage(), text=label.answers[promised.weak])
    return judge(asked, reply, Evidence(earlier=earlier)).value


def _learned(predictor: Predictor, promised: Promised, labels: Sequence[Label], now: datetime, say: Say) -> Certified:
    first, second = halves(labels)
    taught = [each for each in first if each.text][-learn.MOST_LABELS :]
    if not second:
        raise InvalidInput(f"{len(labels)} labels cannot be halved; give more, or do not learn.", field="labels")
    say(f"learning from {len(taught):,} labels")
    gains = [each.outcomes[promised.reference] - each.outcomes[promised.weak] for each in taught]
    artefact = learn.learned(predictor, [each.text or "" for each in taught], gains)
    own = predict.load(artefact)
    made = _measured(own, promised, second, now, say)
    figures = _sheet(predictor, own, promised, taught, second)
    return replace(made, artefact=artefact, figures=figures)


def _sheet(
    before: Predictor, own: Predictor, promised: Promised, taught: Sequence[Label], second: Sequence[Label]
) -> dict[str, Any]:
    """The artefact's datasheet: where it comes from, and how it orders labels that it did not learn from."""
    sheet: dict[str, Any] = {
        "learned_from": {"labels": len(taught), "task_class": promised.task_class},
        "weak": promised.weak,
        "reference": promised.reference,
        "started_from": before.version,
        "version": own.version,
    }
    for name, predictor in (("apgr_before", before), ("apgr_after", own)):
        scored = _scored(predictor, promised, [each for each in second if each.text])
        try:
            sheet[name] = round(evaluate.apgr(scored.weak, scored.reference, scored.scores), 4)
        except evaluate.UnusableOutcomes:
            sheet[name] = None  # both models are equally good on these: there is nothing to recover
    return sheet


def _scored(predictor: Predictor, promised: Promised, labels: Sequence[Label]) -> _Scored:
    """Of the labels that have a text, or were scored by this very artefact."""
    found = _Scored(scores=[], weak=[], reference=[], inclusion=[])
    for each in labels:
        score = each.score if each.scorer == predictor.version else None
        if score is None and each.text:
            score = predictor.read(each.text).gain
        if score is not None:
            found.scores.append(round(score, _SCORE_DIGITS))
            found.weak.append(each.outcomes[promised.weak])
            found.reference.append(each.outcomes[promised.reference])
            found.inclusion.append(each.inclusion)
    return found


def _by_request(labels: Sequence[Label]) -> list[Label]:
    """One row per request: what several labels say of it together, the first to speak of a model being believed."""
    found: dict[UUID, Label] = {}
    for each in labels:
        row = each.request_id or each.id
        known = found.get(row)
        found[row] = each if known is None else _together(known, each)
    return list(found.values())


def _together(first: Label, then: Label) -> Label:
    outcomes, answers = {**then.outcomes, **first.outcomes}, {**then.answers, **first.answers}
    return replace(first, outcomes=outcomes, answers=answers, text=first.text or then.text)


def _nobody_judged(promised: Promised, labels: Sequence[Label]) -> str:
    known = sorted({model for each in labels for model in each.outcomes})
    told = f"no label of class {promised.task_class!r} knows both {promised.weak}'s and {promised.reference}'s outcome"
    return f"{told}; {len(labels)} labels are there, with outcomes of: {', '.join(known) or 'nobody'}."
