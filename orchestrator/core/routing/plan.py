"""Chooses: eligible models first, then the cheapest plan whose predicted quality is enough. It predicts no model.

Every plan ends with the best model its class may use; what is chosen is which cheaper ones are asked before it, each
answer being accepted if it is good enough. So a plan is one model, a cascade, or a vote of cheap ones (the second is
accepted where it agrees with the first), and among those the cheapest is taken that is predicted to reach

    the quality the request asks for, else (1 − slack) × the quality of the best plan,

unless the task class has a quality contract, which then decides alone between its weak and its reference model.
Of two plans of equal cost the better is taken: no plan that could have been chosen is cheaper and as good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import inf, nextafter

from orchestrator.core import instruct
from orchestrator.core.budget import BudgetState
from orchestrator.core.contract.certificate import Reads
from orchestrator.core.errors import BudgetExceeded, ModelNotFound, NoModelAvailable, NotEligible
from orchestrator.core.routing.cascade import BROKEN, NEVER
from orchestrator.core.routing.eligible import FASTEST_SHARE, LOCAL_TIERS, PAID_TIERS, eligible, nobody, overrun
from orchestrator.core.routing.ladder import by_entries, by_tier, preference
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.promise import promised
from orchestrator.core.routing.reason import why_first, why_ordered
from orchestrator.core.routing.score import Read
from orchestrator.core.types import Complexity, Plan, Promise, Request, Rung, Score, Strategy
from registry.load import Registry, UnknownModel
from registry.schema import Billing, Card, Task, Tier

# Predictions are rough: a plan this near to the target may fall on the other side once prompts like it are looked up.
_MARGIN = 0.1
_MOST_VOTERS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a choice is made from. `unavailable` maps models that cannot be called now to what would make them
    available; `last` is the model that answered this conversation's last turn, `bound` says that it must go on (a
    tool's result is being handed in)."""

    request: Request
    read: Read | None
    scores: Mapping[str, Score]
    unavailable: Mapping[str, str]
    last: str | None = None
    bound: bool = False
    judge: str | None = None
    """Version of the judge that grades answers."""
    budget: BudgetState | None = None
    """The one that leaves this caller least."""
    contexts: Mapping[str, int] = field(default_factory=dict)
    """Tokens that loaded local models hold, where fewer than their cards say."""
    streamed: bool = False
    """What is said cannot be unsaid: the first model that speaks has answered, however it is graded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A plan; those it was chosen among and the quality they had to reach, where predictions decided; and whether a
    slightly other prediction would have changed it."""

    plan: Plan
    considered: tuple[Plan, ...] = ()
    target: float | None = None
    close: bool = False


def choose(asked: Asked, policy: RoutingPolicy, registry: Registry) -> Choice:
    """The plan for a request. Raises ModelNotFound, NotEligible, NoModelAvailable, BudgetExceeded."""
    request, features = asked.request, asked.read.features if asked.read else None
    if request.model is not None:
        return Choice(plan=_named(asked, policy, registry))
    cards = able(registry, request.task)
    if asked.scores:
        candidates = [registry.cards[model_id] for model_id in asked.scores]
    else:
        candidates = [card for card in cards if card.id not in asked.unavailable]
    ready, refusals = eligible(request, features, candidates, asked.scores, asked.budget, asked.contexts)
    if not ready:  # a local model that holds less than it could leaves the oldest turns out, and says so
        ready, refusals = eligible(request, features, candidates, asked.scores, asked.budget)
    if not ready:
        raise _overrun(asked, candidates) or nobody(request, features, cards, refusals, asked.unavailable)
    if asked.read is None:
        return Choice(plan=_in_order(asked, ready, policy, registry))
    beyond = _overrun(asked, [card for card in candidates if card.id in refusals])
    chooser = _Chooser(asked, asked.read, ready, policy, registry)
    if beyond is not None and chooser.strays:
        raise beyond  # the class may not use what is left; a budget is no reason to answer worse
    choice = chooser.choice()
    return choice if beyond is None else replace(choice, plan=replace(choice.plan, beyond=beyond))


def _overrun(asked: Asked, refused: Sequence[Card]) -> BudgetExceeded | None:
    """Where one of these could answer if the budget had more left."""
    if asked.budget is None:
        return None
    features = asked.read.features if asked.read else None
    ready, _ = eligible(asked.request, features, refused, asked.scores, contexts=asked.contexts)
    paid = [asked.scores[card.id] for card in ready if card.billing is not Billing.NONE]
    return overrun(asked.budget, paid) if paid else None


def able(registry: Registry, task: Task) -> Sequence[Card]:
    """Those made for a task; to classify, our own language models may be told how."""
    cards = registry.for_task(task)
    if task is not Task.CLASSIFY:
        return cards
    return (*cards, *(card for card in registry.for_task(Task.GENERATE) if card.billing is Billing.NONE))


def _in_order(asked: Asked, ready: Sequence[Card], policy: RoutingPolicy, registry: Registry) -> Plan:
    """Tasks whose models nobody scores: by the policy's order, else downloaded before built-in."""
    task = asked.request.task
    ordered = by_entries(policy.task_order.get(task, ()), ready, asked.scores, registry) or list(by_tier(ready))
    ordered.sort(key=lambda card: instruct.needed(card, task))
    # Vectors of two models do not compare, so an embedding has no second rung.
    ordered = ordered[: 1 if task is Task.EMBED else 2]
    threshold = _threshold(asked.request, policy)
    return Plan(
        rungs=tuple(Rung(model_id=card.id, threshold=threshold) for card in ordered),
        complexity=Complexity.SIMPLE,
        reason=f"{ordered[0].id} is the first available model for {task}",
    )


def _named(asked: Asked, policy: RoutingPolicy, registry: Registry) -> Plan:
    request, read = asked.request, asked.read
    assert request.model is not None  # noqa: S101 - the caller's condition, for the type checker
    try:
        card = registry.get(request.model)
    except UnknownModel as unknown:
        raise ModelNotFound(str(unknown), model=request.model) from unknown
    if not instruct.can(card, request.task):
        can = ", ".join(card.tasks)
        raise NotEligible(
            f"model {card.id!r} cannot {request.task}; it can {can}.", candidates={card.id: f"cannot {request.task}"}
        )
    scores = None if card.id in asked.unavailable or request.task is not Task.GENERATE else asked.scores
    _, refusals = eligible(request, read.features if read else None, [card], scores, asked.budget)
    if refusals:
        told = f"model {card.id!r}: {refusals[card.id]}."
        raise _overrun(asked, [card]) or NotEligible(told, candidates=refusals)
    if missing := asked.unavailable.get(card.id):
        raise NoModelAvailable(f"model {card.id!r} cannot answer now: {missing}", candidates={card.id: missing})
    predicted = asked.scores.get(card.id)
    return Plan(
        rungs=(Rung(model_id=card.id, threshold=0.0),),
        complexity=read.complexity if read else Complexity.SIMPLE,
        reason=f"{card.id} was named by the request",
        quality=predicted.p_adequate if predicted else None,
        cost_nanousd=predicted.cost_nanousd if predicted else None,
        latency_ms=predicted.latency_ms if predicted else None,
    )


class _Chooser:
    """One choice among the ready cards of a text to generate."""

    def __init__(
        self, asked: Asked, read: Read, ready: Sequence[Card], policy: RoutingPolicy, registry: Registry
    ) -> None:
        self._asked, self._request, self._read = asked, asked.request, read
        self._policy, self._registry = policy, registry
        self._ready = {card.id: card for card in ready}
        ladder = policy.ladders["tools" if self._request.options.tools else read.complexity]
        ordered = by_entries(ladder, ready, asked.scores, registry)
        taken = {card.id for card in ordered}
        rest = [card for card in by_tier(ready) if card.id not in taken]
        self.strays = not ordered and self._request.strategy is not Strategy.LOCAL_FALLBACK
        """No model of the class's ladder can be had."""
        if not ordered:
            ordered = rest[:1]  # nothing of the ladder can be had: the best of what is there beats no answer
        self._after: list[Card] = []
        if self._request.strategy is Strategy.LOCAL_FALLBACK:
            self._after = [card for card in (*ordered, *rest) if card.tier in LOCAL_TIERS][:1]
            ordered = [card for card in ordered if card.tier in PAID_TIERS] or self._after
        self._ladder = ordered
        self._threshold = _threshold(self._request, policy)
        self._voters = self._second_local(ready)

    def choice(self) -> Choice:
        if self._asked.bound and self._asked.last in self._ready:
            return Choice(
                plan=self._plan([self._ready[self._asked.last]], f"a tool loop stays with {self._asked.last}")
            )
        promise, kept = self._promised()
        if promise is not None and kept is not None:
            return Choice(plan=self._certified(kept, promise))
        choice = self._cheapest()
        return choice if promise is None else replace(choice, plan=replace(choice.plan, promise=promise))

    # -- the contract ---------------------------------------------------------------------------

    def _promised(self) -> tuple[Promise | None, list[Card] | None]:
        """What the contracts of this task class say, and the models they leave; None where no contract decides."""
        task_class = self._request.task_class or self._read.complexity
        contracts = self._policy.contracts_of(task_class)
        if not contracts:
            return None, None
        judge, streamed = self._asked.judge, self._asked.streamed
        told = [promised(each, self._read, self._ready, judge=judge, streamed=streamed) for each in contracts]
        promise, models = next((each for each in told if each[1] is not None and len(each[1]) > 1), told[0])
        return promise, None if models is None else [self._ready[model] for model in models]

    def _certified(self, kept: Sequence[Card], promise: Promise) -> Plan:
        """One that reads the query speaks of the weak model's answers as they are: only a broken one goes on to the
        reference, unless the request itself asks for a grade. One that reads the answer says which grade is enough,
        beside the answers it is compared with. The reference's own answer is what was promised, if it is one at all."""
        plan, cheap = self._plan(kept, why_first(self._read, kept, promise)), len(kept) - 1
        least = self._request.constraints.min_quality or BROKEN
        reference = replace(plan.rungs[cheap], threshold=least)
        if not cheap:
            return replace(plan, rungs=(reference, *plan.rungs[1:]), promise=promise)
        if promise.reads == Reads.ANSWER:  # a score below the threshold is a grade above it
            least = max(least, nextafter(promise.threshold or 0.0, inf))
        before = [replace(rung, threshold=NEVER) for rung in plan.rungs[: cheap - 1]]
        weak = replace(plan.rungs[cheap - 1], threshold=least, compared=cheap - 1)
        return replace(plan, rungs=(*before, weak, reference, *plan.rungs[cheap + 1 :]), promise=promise)

    # -- the prediction -------------------------------------------------------------------------

    def _cheapest(self) -> Choice:
        plans, last = self._plans(), self._conversation()
        target = self._target(plans)
        stay = self._staying(self._ready[last]) if last is not None else None
        plans = plans if stay is None else self._affordable([*plans, stay])
        enough = [plan for plan in plans if _quality(plan) >= target]
        if not enough:
            raise self._too_low(plans)
        chosen = min(enough, key=self._worth)
        close = len(plans) > 1 and min(abs(_quality(plan) - target) for plan in plans) < _MARGIN
        plan = replace(chosen, reason=self._told(chosen, stay, target))
        return Choice(plan=plan, considered=tuple(plans), target=target, close=close)

    def _plans(self) -> list[Plan]:
        """Every plan there is to choose from: the best model of the ladder, after each set of cheaper ones."""
        scores, first = self._asked.scores, list[Card]()
        for card in self._ladder:
            if all(card.tier is not other.tier for other in first):  # the second of a tier is there for failures
                first.append(card)
        best = max(first, key=lambda card: (scores[card.id].p_adequate, -first.index(card)))
        cheaper = [card for card in (*first, *self._voters) if self._may_come_before(card, best)]
        if self._asked.streamed:
            return self._affordable([self._plan([card]) for card in sorted([*cheaper, best], key=self._climb)])
        most = self._policy.max_rungs - 1 - len(self._after)
        sets = [chosen for size in range(most + 1) for chosen in combinations(cheaper, size)]
        plans = [self._plan(sorted([*chosen, best], key=self._climb)) for chosen in sets]
        return self._affordable(plans)

    def _may_come_before(self, card: Card, best: Card) -> bool:
        scores = self._asked.scores
        return card is not best and scores[card.id].cost_nanousd <= scores[best.id].cost_nanousd

    def _climb(self, card: Card) -> tuple[int, float, str]:
        score = self._asked.scores[card.id]
        return score.cost_nanousd, score.p_adequate, card.id

    def _affordable(self, plans: Sequence[Plan]) -> list[Plan]:
        """Those whose predicted whole keeps the request's limits; each model alone does, so one is always kept."""
        limits, kept = self._request.constraints, list(plans)
        if limits.max_cost_nanousd is not None:
            kept = [plan for plan in kept if (plan.cost_nanousd or 0) <= limits.max_cost_nanousd] or kept[:1]
        if limits.deadline_ms is not None:
            kept = [plan for plan in kept if (plan.latency_ms or 0) * FASTEST_SHARE <= limits.deadline_ms] or kept[:1]
        return kept

    def _target(self, plans: Sequence[Plan]) -> float:
        if self._request.constraints.min_quality is not None:
            return self._request.constraints.min_quality
        return (1 - self._policy.slack[self._read.complexity]) * max(map(_quality, plans))

    def _too_low(self, plans: Sequence[Plan]) -> NotEligible:
        best = max(map(_quality, plans))
        reason = f"predicted quality {best:.2f} is under constraints.quality"
        scores = self._asked.scores
        told = {
            card.id: f"predicted quality {scores[card.id].p_adequate:.2f} is under constraints.quality"
            for card in self._ladder
        }
        return NotEligible(f"no plan reaches what this request asks: {reason}. Ask for less.", candidates=told)

    def _conversation(self) -> str | None:
        """The model of the last turn, where it may answer again."""
        return self._asked.last if self._asked.last in self._ready else None

    def _worth(self, plan: Plan) -> tuple[float, float, int, tuple[str, ...]]:
        """By cost, switching included: a plan that takes a conversation from its model must be that much cheaper. It
        is one number per plan, so asking for more quality still never gives less, nor costs less."""
        cost, quality, latency, names = _preferred(plan)
        last, policy = self._conversation(), self._policy
        if last is None or plan.rungs[0].model_id == last:
            return cost, quality, latency, names
        return policy.switch_factor * cost + policy.switch_least_nanousd, quality, latency, names

    def _told(self, chosen: Plan, stay: Plan | None, target: float) -> str:
        last = self._conversation()
        if stay is None or last is None:
            return self._why(chosen)
        if chosen.rungs[0].model_id == last:
            return f"{self._why(chosen)}; the conversation stays with {last}"
        why = "is not predicted good enough" if _quality(stay) < target else "would cost far more"
        return f"{self._why(chosen)}; moved from {last}, which {why}"

    def _staying(self, last: Card) -> Plan:
        """The model of the last turn, then the best of the ladder, if better."""
        scores = self._asked.scores
        better = [card for card in self._ladder if scores[card.id].p_adequate > scores[last.id].p_adequate]
        if self._asked.streamed:
            return self._plan([last])
        better.sort(key=lambda card: scores[card.id].p_adequate)
        return self._plan([last, *better[-1:]])

    # -- rungs ----------------------------------------------------------------------------------

    def _plan(self, cards: Sequence[Card], reason: str = "") -> Plan:
        """These models, then the rest of the ladder for failures: those no worse first."""
        most, taken = self._policy.max_rungs, {card.id for card in cards}
        least = self._asked.scores[cards[-1].id].p_adequate
        left = [card for card in self._ladder if card.id not in taken]
        rest = sorted(left, key=lambda card: self._asked.scores[card.id].p_adequate < least)[: most - len(cards)]
        if self._after and self._after[0].id not in taken:
            rest = [*rest[: most - len(cards) - 1], *self._after]
        quality, cost, latency = _predicted(cards, self._asked.scores, self._policy)
        return Plan(
            rungs=(*(self._rung(card.id) for card in cards), *(self._rung(card.id, fallback=True) for card in rest)),
            complexity=self._read.complexity,
            reason=reason,
            quality=quality,
            cost_nanousd=cost,
            latency_ms=latency,
        )

    def _rung(self, model_id: str, *, fallback: bool = False) -> Rung:
        return Rung(model_id=model_id, threshold=self._threshold, fallback=fallback)

    def _why(self, plan: Plan) -> str:
        return why_ordered(self._read, [self._registry.get(rung.model_id) for rung in plan.rungs])

    def _second_local(self, ready: Sequence[Card]) -> list[Card]:
        """A second local model, to vote with the first: where the two agree the answer is mostly right."""
        first = [card for card in self._ladder if card.tier is Tier.LOCAL][:1]
        others = [card for card in ready if card.tier is Tier.LOCAL and card.id != first[0].id] if first else []
        return sorted(others, key=lambda card: preference(card, self._asked.scores))[: _MOST_VOTERS - 1]


def _predicted(cards: Sequence[Card], scores: Mapping[str, Score], policy: RoutingPolicy) -> tuple[float, int, int]:
    """Quality, cost and latency to expect of a cascade, failures aside. Answers of two models are taken to be right or
    wrong independently, given the query."""
    last = scores[cards[-1].id]
    quality, cost, latency = last.p_adequate, float(last.cost_nanousd), float(last.latency_ms)
    for n in range(len(cards) - 2, -1, -1):
        votes = n > 0 and cards[n].tier is cards[n - 1].tier
        right, wrong = policy.agree_rates if votes else (policy.accept_right, policy.accept_wrong)
        score = scores[cards[n].id]
        goes_on = 1 - (score.p_adequate * right + (1 - score.p_adequate) * wrong)
        quality = score.p_adequate * right + goes_on * quality
        cost = score.cost_nanousd + goes_on * cost
        latency = score.latency_ms + goes_on * latency
    return round(quality, 4), round(cost), round(latency)


def _quality(plan: Plan) -> float:
    return plan.quality or 0.0


def _preferred(plan: Plan) -> tuple[int, float, int, tuple[str, ...]]:
    """The cheapest, then the best, the fastest, the name."""
    return plan.cost_nanousd or 0, -_quality(plan), plan.latency_ms or 0, tuple(rung.model_id for rung in plan.rungs)


def _threshold(request: Request, policy: RoutingPolicy) -> float:
    return max(policy.accept_at, request.constraints.min_quality or 0.0)
