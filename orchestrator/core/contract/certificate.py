"""Quality contracts: certifies the cheapest threshold that keeps a promise; it predicts no quality and calls no model.

The promise: on this task class, expected quality is at least (1 − epsilon) × the reference model's, with probability
1 − delta over the calibration sample. A policy is a threshold on a router's score (higher score = send to the
reference): a row whose score is below it goes to the weak model. Learn-then-Test (Angelopoulos et al. 2021, arXiv
2110.01052) with fixed-sequence testing walks the thresholds from the safest up, and stops at the first whose claim
"this breaks the promise" is not refuted at level delta: a false certificate needs the first broken threshold of the
walk to be refuted, so its probability is at most delta however many thresholds there are. That asks for thresholds
fixed without the rows that test them, their scores included: quantiles of these very scores will not do.

The probability is that of one certificate: who certifies again on grown data until it holds spends delta each time.
The answer does not depend on the order of the rows: they are sorted, then shuffled by a permutation drawn from a hash
of the sorted rows. A larger epsilon or delta never gives a stricter policy: both are rounded down to a rung of a fixed
ladder, and a threshold counts only if the claims of all laxer rungs are refuted too (which can only lower the risk).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from math import ceil, inf, isinf, log
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.core.contract.bounds import MOST_AT_STAKE, Bools, Claims, Rows, refuted
from orchestrator.core.contract.calibration import Floats, Sample, column, observed, sample_of, shuffled
from orchestrator.core.errors import InvalidInput

METHOD = "hedged-betting-1"  # name and revision of the test; part of a contract's version
EPSILONS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
DELTAS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_LATTICE = 1 / 256  # step of the thresholds when the caller gives none; a power of two, so multiples are exact
_LEAST_CHANCE = 0.5  # a last draw may not certify on less: with few rows a promise would be kept by luck or not at all
_STRIDE = 32  # thresholds tested at once; the walk ends after the first stride with a failure
_LEAST_SHARE = 0.05  # a policy that spares fewer calls than this is not worth labels
_MOST_LABELS = 100_000  # asking for more is saying no
_POWER = 0.8  # with the labels asked for, the chance that they certify


class State(StrEnum):
    """What a contract lets the routing policy do."""

    MET = "met"  # certified: rows below the threshold go to the weak model
    REFERENCE = "reference"  # no policy looks able to keep the promise: always the reference model
    UNCERTIFIED = "uncertified"  # a policy looks able to, with more labels: until then always the reference model
    REVOKED = "revoked"  # was met; live labels refuted it: always the reference model


class Reads(StrEnum):
    """What a contract's score is made from."""

    QUERY = "query"
    ANSWER = "answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What n labelled rows show. `threshold` is −inf unless met, +inf when every row may go to the weak model;
    `weak_share` and `margin` (mean quality above the promise) are those of the calibration rows at the threshold."""

    state: State
    threshold: float
    epsilon: float
    delta: float
    n: int
    weak_share: float = 0.0
    margin: float = 0.0
    more_labels: int | None = None
    method: str = METHOD

    def __str__(self) -> str:
        if self.state is State.UNCERTIFIED:
            return f"uncertified: about {_rounded(self.more_labels or 1):,} more labels"
        return str(self.state)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """A promise and its standing. `weak`, `reference` and `scorer` name models and the version of the score.

    What the score reads: the query, before any model is asked (the predicted gain); or the weak model's answer, after
    it was asked: then the score is the negative of its grade, compared with the answers of the models in `compared`,
    which are asked first.
    """

    task_class: str
    weak: str
    reference: str
    scorer: str
    certificate: Certificate
    certified_at: datetime
    reads: Reads = Reads.QUERY
    compared: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        return self.certificate.state

    def as_dict(self) -> dict[str, Any]:
        """JSON values; infinities as the words `inf` and `-inf`, which JSON has no numbers for."""
        plain = {name: getattr(self, name) for name in ("task_class", "weak", "reference", "scorer", "reads")}
        certificate = {name: getattr(self.certificate, name) for name in self.certificate.__dataclass_fields__}
        if isinf(self.certificate.threshold):
            certificate["threshold"] = str(self.certificate.threshold)
        at = self.certified_at.isoformat()
        return {**plain, "compared": list(self.compared), "certificate": certificate, "certified_at": at}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Contract:
        """Raises TypeError, ValueError or KeyError for what is no contract."""
        told = dict(data["certificate"])
        certificate = Certificate(**{**told, "state": State(told["state"]), "threshold": float(told["threshold"])})
        at = datetime.fromisoformat(data["certified_at"])
        reads, compared = Reads(data.get("reads", Reads.QUERY)), tuple(data.get("compared", ()))
        known = {**data, "certificate": certificate, "certified_at": at, "reads": reads, "compared": compared}
        return Contract(**known)

    @property
    def version(self) -> str:
        """16 hex digits over everything the promise says; not over when it was certified."""
        told: tuple[object, ...] = (self.task_class, self.weak, self.reference, self.scorer, self.certificate)
        if self.reads is not Reads.QUERY:
            told = (*told, str(self.reads), self.compared)
        return blake2b(repr(told).encode(), digest_size=8).hexdigest()


def certify(
    scores: ArrayLike,
    weak: ArrayLike,
    reference: ArrayLike,
    *,
    epsilon: float,
    delta: float,
    grid: ArrayLike | None = None,
    population: int | None = None,
    inclusion: ArrayLike | None = None,
    least_inclusion: float = 1.0,
) -> Certificate:
    """The cheapest certified threshold. Rows are independent draws from the task class; qualities lie in [0, 1].

    `grid`: thresholds fixed without these rows, best some 200 quantiles of the scores of other traffic; without it
    every multiple of 1/256, which suits scores that are predicted gains or probabilities. `population`: the rows are
    drawn without replacement from that many, and the promise is about those only (a backlog), which asks for less.
    `inclusion`: with which probability each row was chosen to be labelled, `least_inclusion` the smallest any row has;
    labels are best spent on low scores, which the weak model may come to answer.
    Raises InvalidInput."""
    _check_promise(epsilon, delta)
    sample = sample_of(scores, weak, reference, inclusion, least_inclusion)
    _check_population(population, len(sample.scores), inclusion is not None)
    epsilon, delta = _rung(epsilon, EPSILONS), _rung(delta, DELTAS)
    game, draw = shuffled(sample)
    thresholds = _lattice(game.scores) if grid is None else _parting(column("grid", grid), game.scores)
    least_weight = 1.0 if inclusion is None else least_inclusion
    best = _walk(game, thresholds, epsilon, delta, max(draw, _LEAST_CHANCE), population, least_weight)
    return _certificate(sample, -inf if best is None else float(thresholds[best]), epsilon, delta)


def decide(certificate: Certificate, score: float) -> Literal["weak", "strong"]:
    """Which model answers a query of this score; without a standing certificate always the strong one."""
    return "weak" if certificate.state is State.MET and score < certificate.threshold else "strong"


def revoke(contract: Contract) -> Contract:
    """The contract after live labels refuted it (`eprocess.Watch`)."""
    return replace(contract, certificate=replace(contract.certificate, state=State.REVOKED))


def labels_needed(
    scores: ArrayLike,
    weak: ArrayLike,
    reference: ArrayLike,
    *,
    epsilon: float,
    delta: float,
    inclusion: ArrayLike | None = None,
    least_inclusion: float = 1.0,
) -> int | None:
    """About how many labels in all would certify some policy that spares 5% of calls or more, from the observed means
    and variances; None if no policy keeps it on these rows by a margin that could be shown. An estimate, no promise."""
    _check_promise(epsilon, delta)
    return _needed(sample_of(scores, weak, reference, inclusion, least_inclusion), epsilon, delta)


def _needed(ordered: Sample, epsilon: float, delta: float) -> int | None:
    share, margin, second = observed(ordered, epsilon)
    worth = (share >= _LEAST_SHARE) & (margin > 0)
    margin, second = margin[worth], second[worth]
    if not len(margin):
        return None
    reach = NormalDist().inv_cdf(1 - delta) + NormalDist().inv_cdf(_POWER)
    by_variance = reach**2 * (second - margin**2) / margin**2
    by_stakes = log(1 / delta) / np.log1p(MOST_AT_STAKE * margin)  # no game grows faster, however small the variance
    needed = ceil(float(np.maximum(by_variance, by_stakes).min()))
    return needed if needed <= _MOST_LABELS else None


def _check_promise(epsilon: float, delta: float) -> None:
    if not 0 <= epsilon < 1:
        raise InvalidInput(f"epsilon is {epsilon}; give a share of quality from 0 to below 1", field="epsilon")
    if not DELTAS[0] <= delta < 1:
        raise InvalidInput(f"delta is {delta}; give a probability from {DELTAS[0]} to below 1", field="delta")


def _check_population(population: int | None, n: int, weighted: bool) -> None:
    if population is not None and population < n:
        raise InvalidInput(f"population is {population} for {n} rows drawn from it", field="population")
    if population is not None and weighted:
        raise InvalidInput("a population is drawn from evenly: give population or inclusion", field="population")


def _rung(value: float, ladder: tuple[float, ...]) -> float:
    return max(rung for rung in ladder if rung <= value)


def _lattice(scores: Floats) -> Floats:
    """Of all multiples of the step those that part the scores differently, each the largest of its kind; then +inf.
    The walk over them is the walk over all multiples, which were fixed before any score was seen."""
    cells = np.unique(np.floor(scores / _LATTICE) + 1)
    return np.append((cells - 1) * _LATTICE, inf)


def _parting(grid: Floats, scores: Floats) -> Floats:
    """The grid and +inf, less those that part these scores as the next one does: what tests one tests the other."""
    thresholds = np.append(np.unique(grid), inf)
    below = np.searchsorted(np.sort(scores), thresholds, side="left")
    return np.asarray(thresholds[np.append(np.diff(below) > 0, True)])


def _walk(
    sample: Sample,
    thresholds: Floats,
    epsilon: float,
    delta: float,
    draw: float,
    population: int | None,
    least_weight: float,
) -> int | None:
    """Index of the last threshold before the first that fails; None if the first fails."""
    rows = Rows(
        first=np.searchsorted(thresholds, sample.scores, side="right").astype(np.int64),
        reference=sample.weight * sample.reference,
        gain=sample.weight * (sample.weak - sample.reference),
        least_weight=least_weight,
    )
    for start in range(0, len(thresholds), _STRIDE):
        stop = min(start + _STRIDE, len(thresholds))
        passed = _refuted_on_all_rungs(rows, start, stop, epsilon, delta, draw, population)
        if not passed.all():
            last = start + int(np.argmin(passed)) - 1
            return last if last >= 0 else None
    return len(thresholds) - 1


def _refuted_on_all_rungs(
    rows: Rows, start: int, stop: int, epsilon: float, delta: float, draw: float, population: int | None
) -> Bools:
    laxer = [(e, d) for e in EPSILONS if e >= epsilon for d in DELTAS if d >= delta]
    policies = np.repeat(np.arange(start, stop), len(laxer))
    pairs = np.tile(np.array(laxer), (stop - start, 1))
    claims = Claims(policy=policies, epsilon=pairs[:, 0], delta=pairs[:, 1])
    return np.asarray(refuted(rows, claims, draw=draw, population=population).reshape(stop - start, -1).all(axis=1))


def _certificate(ordered: Sample, threshold: float, epsilon: float, delta: float) -> Certificate:
    n, routed = len(ordered.scores), ordered.scores < threshold
    if routed.any():
        served = np.where(routed, ordered.weak, ordered.reference) - (1 - epsilon) * ordered.reference
        return Certificate(
            state=State.MET,
            threshold=threshold,
            epsilon=epsilon,
            delta=delta,
            n=n,
            weak_share=float(np.average(routed, weights=ordered.weight)),
            margin=float(np.average(served, weights=ordered.weight)),
        )
    needed = _needed(ordered, epsilon, delta)
    more = None if needed is None else max(1, needed - n)
    state = State.REFERENCE if more is None else State.UNCERTIFIED
    return Certificate(state=state, threshold=-inf, epsilon=epsilon, delta=delta, n=n, more_labels=more)


def _rounded(count: int) -> int:
    """To two digits: the estimate knows no more."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return int(round(count / unit) * unit)
