"""Reads the numbers the calibration weighs off an answer to a question with one right answer. Weighs nothing.

Cheap on purpose: each is counted, none is parsed twice. Final answers are told apart by `core/answers.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from orchestrator.core import answers, lexical
from orchestrator.core.demands import Demands
from orchestrator.core.types import Reply

TRAITS = (
    *("words", "repeats", "sums_held", "sums_wrong", "final", "final_whole", "final_decimals", "final_again"),
    *("last_number_final", "asked_numbers_used", "new_numbers", "hedges", "open_end", "relative_length"),
    *("offers_options", "option_offered", "option_quoted", "option_length", "options_named"),
)
AGREEMENTS = ("agreeing", "differing", "united_against")
_TAIL_CHARACTERS = 2_000  # a final answer stands at the end
_NUMBERS_CHARACTERS = 6_000
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_CHOICE = re.compile(r"\(([A-J])\)|\b([A-J])\s*[.)]?\s*$")
_HEDGES = frozenset(
    "however maybe perhaps might assume assuming assumed assumption seems seem wait mistake incorrect actually guess"
    " closest approximately unclear possibly likely".split()
)
_ENDS = frozenset('.!?)}]`"0123456789”。')


def traits(demands: Demands, ask: str, text: str, words: Sequence[str], sums: Sequence[bool]) -> list[float]:
    """One number per name in TRAITS. `sums` are the sums that the text states, each held or not."""
    final = final_of(demands, text)
    told = set(words)
    numbers = _NUMBER.findall(text[-_NUMBERS_CHARACTERS:])
    asked, said = set(_NUMBER.findall(ask[:_NUMBERS_CHARACTERS])), set(numbers)
    number = _number(final)
    end = text[-200:].rstrip()[-1:]
    return [
        math.log1p(len(words)),
        1 - len(told) / max(1, len(words)),
        math.log1p(sum(sums)),
        math.log1p(len(sums) - sum(sums)),
        float(bool(final)),
        float(number is not None and number == int(number)),
        float(len(final.partition(".")[2])) if number is not None else 0.0,
        math.log1p(text.count(final)) if final else 0.0,
        float(bool(numbers) and number is not None and answers.normalised(numbers[-1]) == final),
        len(asked & said) / len(asked) if asked else 1.0,
        math.log1p(len(said - asked)),
        math.log1p(len(_HEDGES & told)),
        float(end not in _ENDS),
        math.log((len(text) + 10) / (len(ask) + 10)),
        *_choice(demands, ask, text, final),
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
    return agreement_of(final_of(demands, reply), [final_of(demands, each.text or "") for each in earlier])


def agreement_of(final: str, others: Sequence[str]) -> list[float] | None:
    """The same from final answers alone, all normalised; "" is no answer."""
    known = [other for other in others if other]
    if not final or not known:
        return None
    against = [other for other in known if other != final]
    united = max((against.count(other) for other in set(against)), default=0)
    return [math.log1p(len(known) - len(against)), math.log1p(len(against)), float(united > 1)]


def agreed(found: Sequence[float]) -> float:
    """The share of the others that agree."""
    agreeing, differing = math.expm1(found[0]), math.expm1(found[1])
    return round(agreeing / (agreeing + differing), 4)


def _choice(demands: Demands, ask: str, text: str, final: str) -> list[float]:
    if not demands.options:
        return [0.0, 0.0, 0.0, 0.0, 0.0]
    options = lexical.options_of(ask)
    chosen = options.get(final, "")
    mean = sum(map(len, options.values())) / max(1, len(options))
    named = {letter for letter in options if f"({letter})" in text}
    return [
        1.0,
        float(final in options),
        float(bool(chosen) and chosen.lower() in text.lower()),
        len(chosen) / max(1.0, mean),
        float(len(named)),
    ]


def _number(final: str) -> float | None:
    try:
        value = float(final)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
