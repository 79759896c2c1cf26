"""Reads the numbers the calibration weighs off an answer to a question with one right answer. Weighs nothing.

Cheap on purpose: each is counted, none is parsed twice. Final answers are told apart by `core/reading/answers.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from orchestrator.core.quality.demands import Demands
from orchestrator.core.reading import answers, lexical
from orchestrator.core.types import Reply

TRAITS = (
    *("words", "final", "more_decimals", "asked_numbers_used", "hedges", "open_end"),
    *("relative_length", "option_length"),
)
"""Chosen by what held on sets left out: ten more (sums that hold, new numbers, repetition, a final answer repeated, …)
helped on the sets they were learnt from and misled on others."""
AGREEMENTS = ("agreeing", "differing", "united_against", "agreeing_option", "differing_option")
_TAIL_CHARACTERS = 600  # a final answer stands at the end
_NUMBERS_CHARACTERS = 4_000
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_CHOICE = re.compile(r"\(([A-J])\)|\b([A-J])\s*[.)]?\s*$")
_HEDGES = frozenset(
    "however maybe perhaps might assume assuming assumed assumption seems seem wait mistake incorrect actually guess"
    " closest approximately unclear possibly likely".split()
)
# What makes decimals natural: "15% of 85", "the average of 3 and 4", "at a price of $3".
_DIVIDED = tuple("% average mean percent ratio decimal round bmi speed convert $ € £ price cost".split())
_ENDS = frozenset('.!?)}]`"0123456789”。')


def traits(demands: Demands, ask: str, text: str, words: Sequence[str]) -> list[float]:
    """One number per name in TRAITS."""
    final = final_of(demands, text)
    asked = set(_NUMBER.findall(ask[:_NUMBERS_CHARACTERS]))
    used = asked.intersection(_NUMBER.findall(text[-_NUMBERS_CHARACTERS:])) if asked else asked
    return [
        math.log1p(len(words)),
        float(bool(final)),
        _more_decimals(final, ask, asked),
        len(used) / len(asked) if asked else 1.0,
        math.log1p(len(_HEDGES.intersection(words))),
        float(text[-200:].rstrip()[-1:] not in _ENDS),
        math.log((len(text) + 10) / (len(ask) + 10)),
        _option_length(ask, final) if demands.options else 1.0,
    ]


def final_of(demands: Demands, text: str) -> str:
    """The answer the text comes to, normalised; "" where none can be told. Where no words mark it, the option or the
    number that stands last."""
    tail = text[-_TAIL_CHARACTERS:]
    if marked := answers.final_answer(tail):
        return answers.normalised(marked)
    if not demands.closed:
        return ""
    if demands.options:
        found = _CHOICE.findall(tail[-200:].rstrip())
        return (found[-1][0] or found[-1][1]) if found else ""
    numbers = _NUMBER.findall(tail[-200:])
    return answers.normalised(numbers[-1]) if numbers else ""


def agreement(demands: Demands, reply: str, earlier: Sequence[Reply]) -> list[float] | None:
    """One number per name in AGREEMENTS; None where final answers cannot be compared."""
    others = [final_of(demands, each.text or "") for each in earlier]
    return agreement_of(final_of(demands, reply), others, option=demands.options > 1)


def agreement_of(final: str, others: Sequence[str], *, option: bool) -> list[float] | None:
    """The same from final answers alone, all normalised; "" is no answer. Two who choose the same of few options agree
    by chance now and then: those count apart."""
    known = [other for other in others if other]
    if not final or not known:
        return None
    against = [other for other in known if other != final]
    united = max((against.count(other) for other in set(against)), default=0)
    agreeing, differing = math.log1p(len(known) - len(against)), math.log1p(len(against))
    return [agreeing, differing, float(united > 1), option * agreeing, option * differing]


def agreed(found: Sequence[float]) -> float:
    """The share of the others that agree."""
    agreeing, differing = math.expm1(found[0]), math.expm1(found[1])
    return round(agreeing / (agreeing + differing), 4)


def _more_decimals(final: str, ask: str, asked: Collection[str]) -> float:
    """1 where a final number has decimals that nothing in the ask calls for, neither a number of it nor its subject."""
    decimals = len(final.partition(".")[2]) if _PLAIN_NUMBER.fullmatch(final) else 0
    if not decimals or any("." in number for number in asked):
        return 0.0
    lowered = ask[-_NUMBERS_CHARACTERS:].lower()
    return float(decimals > 2 or not any(map(lowered.__contains__, _DIVIDED)))


def _option_length(ask: str, final: str) -> float:
    """Of the option chosen, as a share of the mean; 0 where none of those offered was."""
    options = lexical.options_of(ask)
    mean = sum(map(len, options.values())) / max(1, len(options))
    return min(3.0, len(options.get(final, "")) / max(1.0, mean))
