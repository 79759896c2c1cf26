"""Grades a reply after calling: one number in [0, 1] that is read as P(the answer is adequate). Never sees the model.

What is measured: for asks with one right answer (options, a quantity to work out, the output of given code) the
probability is calibrated on labelled answers of cheap models to five public sets; the artefact's datasheet says how
well it holds out of fold and on sets left out. Without an artefact it is the stated base.

What is stated, for want of labels: that an ordinary complete reply to an open ask (chat, writing) is adequate three
times in four; how log-probabilities move the grade; what a broken promise (`checks`) is worth. A broken promise
caps the grade at its own value, however sure the rest is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, prod

from orchestrator.core.quality import checks, demands, traits, weighing
from orchestrator.core.quality.demands import Demands
from orchestrator.core.quality.weighing import Weighing
from orchestrator.core.reading import features
from orchestrator.core.types import QualityScore, Reply, Request
from registry.schema import Task

OPEN_BASE = 0.75
"""Stated: P(adequate) of a complete, fluent reply to an open ask, where nothing else is known."""
_CLOSED_BASE = 0.65  # stated, and used only without an artefact
_RIGHT_SUM = 0.95  # the bare sum that was asked for is in the reply, computed again here
_USUAL_LOGPROB, _LOGPROB_SPREAD = -0.5, 0.3  # per token, of chat models at ordinary temperatures: stated
_TASTE_FOR_LOGPROB = 0.5
_LEAST_TO_COMPARE = 30  # words: shorter replies are far from their asks in meaning, right or wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is known of a reply beside its text; None where nobody knows. `earlier` are the other answers to the same
    request, `relevance` how near reply and ask are in meaning, (1 + cosine) / 2 of the embedder that the judge names,
    `mean_logprob` per token as the runtime told it (0 or less), `neighbours` the share of like past prompts that this
    model answered well, `predicted` the P(adequate) that was expected before the call (its neighbours are in it)."""

    earlier: tuple[Reply, ...] = ()
    relevance: float | None = None
    relevance_by: str | None = None
    mean_logprob: float | None = None
    neighbours: float | None = None
    predicted: float | None = None


NO_EVIDENCE = Evidence()
CROSS_ENCODERS = ("ms-marco-minilm-l12-v2",)
BUILTIN_RERANKER = "minilm-l6-builtin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Grades replies. Make a calibrated one with `load`; `judge` is the one that knows no labels."""

    weighing: Weighing | None = None

    def __call__(self, request: Request, reply: Reply, evidence: Evidence = NO_EVIDENCE) -> QualityScore:
        """The grade and the signals it came from: the checks, and the evidence that was there."""
        if request.task is not Task.GENERATE:
            return QualityScore(value=1.0 if reply.data is not None else 0.0, signals={})
        ask, text = features.ask_of(request), reply.text or ""
        asked, words = demands.demands_of(request), text.split()
        sums, held = checks.arithmetic(asked, text)
        kept = _kept(request, reply, asked, ask, words, sums)
        p, told = self._probability(asked, ask, reply, words, evidence)
        if asked.total is not None and held and all(held):
            p = max(p, _RIGHT_SUM)
        return QualityScore(value=round(min(p, prod(kept.values())), 4), signals={**kept, **told})

    def relevance_counts(self, request: Request, reply: Reply, threshold: float) -> bool:
        """Whether relevance could put this reply on the other side of `threshold`: no broken promise has decided
        already, and it is a long reply to an open question. Elsewhere it tells nothing: on answers with one right
        answer it adds nothing to what is read off them, and a joke or a greeting is far from its ask."""
        asked, words = demands.demands_of(request), (reply.text or "").split()
        if self.weighing is None or request.task is not Task.GENERATE or not _near_means_right(asked, words):
            return False
        sums = checks.arithmetic(asked, reply.text or "")[0]
        kept = _kept(request, reply, asked, features.ask_of(request), words, sums)
        return 0 < threshold <= min(OPEN_BASE, prod(kept.values()))

    @property
    def version(self) -> str:
        """Of the artefact it was calibrated with; contracts that read the answer name it."""
        return self.weighing.version if self.weighing else "stated"

    @property
    def rerankers(self) -> tuple[str, ...]:
        """Cards whose relevance this judge can read, a cross-encoder before the one it was trained with."""
        trained = self.weighing.relevance_by if self.weighing else BUILTIN_RERANKER
        return (*(card for card in CROSS_ENCODERS if card != trained), trained)

    def _trained_with(self, reranker: str | None) -> bool:
        return self.weighing is not None and reranker in (None, self.weighing.relevance_by)

    @property
    def accept_right(self) -> float:
        """P(graded 0.5 or more | adequate), of an answer read alone, out of fold."""
        return self._rate("accept_right", 0.95)

    @property
    def accept_wrong(self) -> float:
        """P(graded 0.5 or more | inadequate), of an answer read alone, out of fold."""
        return self._rate("accept_wrong", 0.85)

    @property
    def agreed_right(self) -> float:
        """As `accept_right`, where other models' final answers are known."""
        return self._rate("agreed_right", 0.95)

    @property
    def agreed_wrong(self) -> float:
        """As `accept_wrong`, where other models' final answers are known."""
        return self._rate("agreed_wrong", 0.85)

    def _rate(self, name: str, stated: float) -> float:
        return self.weighing.rates[name] if self.weighing else stated

    def _probability(
        self, asked: Demands, ask: str, reply: Reply, words: list[str], evidence: Evidence
    ) -> tuple[float, Mapping[str, float]]:
        text, told = reply.text or "", _told(evidence)
        agreeing = traits.agreement(asked, text, evidence.earlier) if evidence.earlier else None
        if agreeing is not None:
            told["agreement"] = traits.agreed(agreeing)
        if asked.closed and self.weighing is not None and not reply.tool_calls:
            log_odds = self.weighing.log_odds(
                traits.traits(asked, ask, text, words),
                agreement=agreeing,
                relevance=evidence.relevance if self._trained_with(evidence.relevance_by) else None,
                neighbours=evidence.neighbours if evidence.predicted is None else None,
                predicted=evidence.predicted,
            )
        else:
            log_odds = self._open(asked, words, evidence)
        log_odds += _by_logprob(evidence.mean_logprob)
        return weighing.share(log_odds), told

    def _open(self, asked: Demands, words: list[str], evidence: Evidence) -> float:
        """Stated, but for relevance, whose curve is measured on answers dealt to the wrong questions."""
        p = _CLOSED_BASE if asked.closed and self.weighing is None else OPEN_BASE
        if evidence.neighbours is not None:
            p = (p + evidence.neighbours) / 2
        if evidence.relevance is not None and self.weighing is not None and _near_means_right(asked, words):
            p *= self.weighing.matches(evidence.relevance, evidence.relevance_by)
        return weighing.logit(p)


judge = Judge()
"""The judge that knows no labels: stated priors only."""


def load(data: bytes) -> Judge:
    """A calibrated judge from an artefact's bytes. Raises InvalidInput."""
    return Judge(weighing=weighing.read(data))


def _kept(request: Request, reply: Reply, asked: Demands, ask: str, words: list[str], sums: float) -> dict[str, float]:
    """Every check by name. Words of the form are not demanded of a tool call, nor of what a schema shapes."""
    text = reply.text or ""
    shaped = request.options.schema is None and not reply.tool_calls
    return {
        "answered": checks.answered(reply),
        "complete": checks.complete(request, reply, words),
        "willing": checks.willing(reply, ask),
        "valid": checks.valid(request, reply),
        "fresh": checks.fresh(words),
        "format": checks.shaped(asked, text, words) if shaped else 1.0,
        "language": checks.same_language(asked, text, words) if shaped else 1.0,
        "arithmetic": sums,
        "code": checks.sound_code(text),
        "on_topic": checks.on_topic(asked, text, words) if shaped else 1.0,
    }


def _near_means_right(asked: Demands, words: list[str]) -> bool:
    return asked.question and not asked.closed and len(words) >= _LEAST_TO_COMPARE


def _told(evidence: Evidence) -> dict[str, float]:
    known = {"relevance": evidence.relevance, "neighbours": evidence.neighbours, "predicted": evidence.predicted}
    told = {name: value for name, value in known.items() if value is not None}
    if evidence.mean_logprob is not None:
        told["token_probability"] = round(exp(min(0.0, evidence.mean_logprob)), 4)
    return told


def _by_logprob(mean: float | None) -> float:
    """Stated, not measured: no labelled set carries log-probabilities."""
    if mean is None:
        return 0.0
    return _TASTE_FOR_LOGPROB * min(1.0, max(-3.0, (mean - _USUAL_LOGPROB) / _LOGPROB_SPREAD))
