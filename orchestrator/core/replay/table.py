"""Puts recorded rows to a policy: the real choice, the real judge where answers were kept, the recorded outcome.

A plan is climbed as in service: where the raw answer of a rung was recorded it is judged, and below the threshold the
next rung is asked and paid too. An answer that was not kept cannot be judged and is served as it stands.

Beside its choice each row keeps its alternatives, in the order in which a policy prefers them (the cheapest first)
and each with its `need`: by how much the policy's slack (or its contract's threshold) would have to be raised for it
to be enough. So every laxer and stricter policy of the same kind can be read off one replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from math import inf, isfinite
from uuid import UUID

from orchestrator.core.contract.certificate import Contract, Reads, State
from orchestrator.core.errors import InvalidInput, NoModelAvailable, NotEligible
from orchestrator.core.quality.judge import Evidence, Judge
from orchestrator.core.reading.predict import Predictor
from orchestrator.core.replay.played import (
    ALWAYS_STRONG,
    NANOUSD_PER_USD,
    NEVER_STRONG,
    NOBODY,
    Played,
    Sat,
    Way,
    refused,
)
from orchestrator.core.replay.recorded import Recorded
from orchestrator.core.replay.seats import Seating
from orchestrator.core.routing import rules
from orchestrator.core.routing.asking import Seen, asked_of, seen
from orchestrator.core.routing.cascade import next_rung
from orchestrator.core.routing.plan import Asked, Choice, choose
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import stated_output_tokens
from orchestrator.core.types import (
    Attempt,
    Complexity,
    Ending,
    Message,
    Options,
    Plan,
    Promise,
    QualityScore,
    Reply,
    Request,
)
from registry.load import Registry
from registry.pricing import UnpricedModel, cost_nanousd
from registry.schema import Task, Usage

_NO_ID = UUID(int=0)
_UNJUDGED = QualityScore(value=1.0)
_BY_ANSWERS = -1.0  # in place of a prediction: the grade rests on answers alone


class Table:
    """The seats with everything a replay needs. `recorded_costs`: dollars of the record before the card's price."""

    def __init__(
        self,
        seats: Seating,
        registry: Registry,
        judge: Judge,
        at: datetime,
        *,
        recorded_costs: bool = False,
    ) -> None:
        self.seating, self._registry, self._judge, self._at = seats, registry, judge, at
        self._cards = tuple(seat.card for seat in seats.seats)
        self._index = {card.id: number for number, card in enumerate(self._cards)}
        self._recorded_costs = recorded_costs
        self._away = {
            card_id: "it stands for no recorded model" for card_id in registry.cards if card_id not in self._index
        }
        self._extremes: dict[str, tuple[RoutingPolicy, RoutingPolicy]] = {}

    def sit(self, row: Recorded, predictor: Predictor) -> Sat:
        """Reads the row: the part that is the same for every policy of this predictor."""
        request = Request(
            id=_NO_ID,
            task=Task.GENERATE,
            messages=(Message(role="user", content=row.text),),
            task_class=row.task_class,
        )
        known = seen(request, predictor)
        priced = [self._priced(row, number, known) for number in range(len(self._cards))]
        outcomes = [row.outcomes[name] for name in self.seating.names]
        return Sat(
            known=known,
            quality=tuple(outcome.quality for outcome in outcomes),
            cost_nanousd=tuple(cost for cost, _, _ in priced),
            costed=tuple(how for _, how, _ in priced),
            usage=tuple(usage for _, _, usage in priced),
            answers=tuple(row.answers.get(name) for name in self.seating.names),
            cluster=row.cluster,
            grades={},
        )

    def _priced(self, row: Recorded, seat: int, known: Seen) -> tuple[int, str, Usage]:
        card, outcome = self._cards[seat], row.outcomes[self.seating.names[seat]]
        given = outcome.input_tokens if outcome.input_tokens is not None else row.input_tokens
        tokens_in = known.features.tokens if given is None else given
        expected = stated_output_tokens(Complexity.MEDIUM, Options())
        usage = Usage(
            input_tokens=tokens_in,
            output_tokens=expected if outcome.output_tokens is None else outcome.output_tokens,
        )
        told = outcome.usd is not None and (self._recorded_costs or outcome.output_tokens is None)
        if told and outcome.usd is not None:
            return round(outcome.usd * NANOUSD_PER_USD), "recorded dollars", usage
        try:
            cost = cost_nanousd(card, usage, self._at)
        except UnpricedModel as error:
            raise InvalidInput(f"{error} Map {self.seating.names[seat]!r} to a card with a price.") from error
        how = "expected tokens" if outcome.output_tokens is None else "recorded tokens"
        return cost, "runs here, free" if not card.prices else f"card's price on {how}", usage

    def play(self, sat: Sat, policy: RoutingPolicy) -> Played:
        """The policy's choice for the row, what it would have served, and the ways it did not take."""
        known = replace(sat.known, request=rules.applied(sat.known.request, policy.rules))
        asked = asked_of(known, policy, self._cards, self._away, self._at, judge=self._judge.version)
        try:
            choice = choose(asked, policy, self._registry)
        except (NotEligible, NoModelAvailable) as refusal:
            return refused(refusal.message)
        way = self._way(sat, asked, choice.plan, inf)
        promise = choice.plan.promise if not choice.considered else None
        if promise is None:
            ways = self._by_slack(sat, asked, choice)
        elif promise.reads == Reads.ANSWER:
            ways = self._by_grade(sat, choice.plan)
        else:
            ways = self._by_threshold(sat, asked, policy, promise)
        ways = ways or (replace(way, need=-inf),)  # a rule, or no certificate, left no other way
        climbed = [self._index[rung.model_id] for rung in choice.plan.rungs if not rung.fallback]
        return Played(
            way=way,
            ways=ways,
            margin=self._margin(ways),
            complexity=choice.plan.complexity,
            by_contract=promise is not None,
            judged=any(sat.answers[seat] is not None for seat in climbed),
        )

    # -- the ways that were not taken -----------------------------------------------------------

    def _by_slack(self, sat: Sat, asked: Asked, choice: Choice) -> tuple[Way, ...]:
        """A plan's need is by how much it misses the target, as a share of the best plan's quality."""
        plans = sorted(choice.considered, key=_preferred)
        best = max((plan.quality or 0.0 for plan in plans), default=0.0)
        target = choice.target or 0.0
        return tuple(
            self._way(sat, asked, plan, -inf if plan.quality == best else (target - (plan.quality or 0.0)) / best)
            for plan in plans
        )

    def _by_threshold(self, sat: Sat, asked: Asked, policy: RoutingPolicy, promise: Promise) -> tuple[Way, ...]:
        if promise.score is None:
            return ()
        base = promise.threshold if promise.threshold is not None and isfinite(promise.threshold) else 0.0
        laxest, strictest = self._extremes.get(policy.version) or self._kept_extremes(policy)
        lax = choose(asked, laxest, self._registry).plan
        strict = choose(asked, strictest, self._registry).plan
        return self._way(sat, asked, lax, promise.score - base), self._way(sat, asked, strict, -inf)

    def _by_grade(self, sat: Sat, plan: Plan) -> tuple[Way, ...]:
        """A contract that reads the answer: the cheap models are asked anyway, and the grade says who is served."""
        promise, climbed = plan.promise, [rung for rung in plan.rungs if not rung.fallback]
        if promise is None or promise.threshold is None or len(climbed) < 2:
            return ()
        seats = [self._index[rung.model_id] for rung in climbed]
        *cheap, weak = seats[:-1]
        grade = sat.grades.get((weak, *cheap, _BY_ANSWERS), _UNJUDGED).value
        cost = sum(sat.cost_nanousd[seat] for seat in seats[:-1])
        whole = cost + sat.cost_nanousd[seats[-1]]
        return (
            Way(need=promise.threshold - grade, first=weak, served=weak, cost_nanousd=cost),
            Way(need=-inf, first=seats[-1], served=seats[-1], cost_nanousd=whole),
        )

    def _kept_extremes(self, policy: RoutingPolicy) -> tuple[RoutingPolicy, RoutingPolicy]:
        lax = replace(policy, contracts=tuple(_at_threshold(contract, inf) for contract in policy.contracts))
        strict = replace(policy, contracts=tuple(_at_threshold(contract, -inf) for contract in policy.contracts))
        return self._extremes.setdefault(policy.version, (lax, strict))

    def _margin(self, ways: Sequence[Way]) -> float:
        """How much laxer the policy would have to be for somebody else than the strong model to be asked first:
        the score by which it orders rows. At most 0 where it asks somebody else already."""
        strong = self.seating.strong
        needs = [way.need for way in ways if way.first != strong]
        return min(ALWAYS_STRONG, max(NEVER_STRONG, min(needs))) if needs else ALWAYS_STRONG

    # -- one plan, climbed ----------------------------------------------------------------------

    def _way(self, sat: Sat, asked: Asked, plan: Plan, need: float) -> Way:
        attempts: list[Attempt] = []
        seats: list[int] = []
        by_answers = plan.promise is not None and plan.promise.reads == Reads.ANSWER
        while (step := next_rung(plan, attempts)).rung is not None:
            seat = self._index[plan.rungs[step.rung].model_id]
            attempts.append(self._attempt(sat, asked, seat, step.rung, seats, by_answers))
            seats.append(seat)
        served = seats[step.attempt] if step.attempt is not None else NOBODY
        return Way(need=need, first=seats[0], served=served, cost_nanousd=sum(each.cost_nanousd for each in attempts))

    def _attempt(
        self, sat: Sat, asked: Asked, seat: int, rung: int, earlier: Sequence[int], by_answers: bool
    ) -> Attempt:
        card = self._cards[seat]
        predicted = _BY_ANSWERS if by_answers else asked.scores[card.id].p_adequate
        return Attempt(
            id=_NO_ID,
            rung=rung,
            model_id=card.id,
            tier=card.tier,
            ending=Ending.SETTLED,
            hold_nanousd=0,
            cost_nanousd=sat.cost_nanousd[seat],
            latency_ms=0.0,
            quality=self._grade(sat, seat, earlier, predicted),
        )

    def _grade(self, sat: Sat, seat: int, earlier: Sequence[int], predicted: float) -> QualityScore:
        """With the evidence that a service has without asking another model: no relevance, no log-probabilities; under
        a contract that reads the answer, by the answers alone."""
        if sat.answers[seat] is None:
            return _UNJUDGED
        key = (seat, *earlier, predicted)
        known = sat.grades.get(key)
        if known is None:
            before = tuple(self._reply(sat, each) for each in earlier if sat.answers[each] is not None)
            evidence = Evidence(earlier=before, predicted=None if predicted == _BY_ANSWERS else predicted)
            known = sat.grades[key] = self._judge(sat.known.request, self._reply(sat, seat), evidence)
        return known

    def _reply(self, sat: Sat, seat: int) -> Reply:
        return Reply(usage=sat.usage[seat], text=sat.answers[seat])


def _preferred(plan: Plan) -> tuple[int, float, int, tuple[str, ...]]:
    """As the choice prefers them: the cheapest, then the best, the fastest, the name."""
    names = tuple(rung.model_id for rung in plan.rungs)
    return plan.cost_nanousd or 0, -(plan.quality or 0.0), plan.latency_ms or 0, names


def _at_threshold(contract: Contract, threshold: float) -> Contract:
    state = State.MET if threshold == inf else State.REFERENCE
    return replace(contract, certificate=replace(contract.certificate, state=state, threshold=threshold))
