"""Reads signals off a request's text: lengths, language, code, maths, creative, brand. No model, no I/O.

Where a request pastes material (a text to summarise, a contract), the ask is what is judged: its first and last
lines. How much each word counts is a stated prior; `core/reading/signals.py` holds the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.core.reading import signals
from orchestrator.core.types import Features, Request

_LANGUAGE_SAMPLE_CHARACTERS = 2_000
_SURE_WORDS = 2
_SIGNAL_SAMPLE_CHARACTERS = 20_000
# An ask stands before or after what it is about; 600 characters hold the longest asks people write in one go.
_ASK_EDGE_CHARACTERS = 600
# "Summarize this in three lines, for a lawyer:" is an ask; what follows it is material.
_PLAIN_ASK_CHARACTERS = 200
_PREAMBLE_CHARACTERS = 120
_CODE_ENOUGH = 3
_MATHS_ENOUGH = 3
_CREATIVE_ENOUGH = 2
_BRAND_ENOUGH = 4
_REASONING_ENOUGH = 3
_AMBIGUOUS_ENOUGH = 2
_AMBIGUOUS_WORDS = 8


def read(request: Request) -> Features:
    """Features of the request's last user turn, and of the whole conversation where that matters."""
    text = ask_of(request)
    ask, plain = _ask(text)
    sample = ask if plain else text[:_SIGNAL_SAMPLE_CHARACTERS]
    lowered = ask.lower()
    words = signals.WORD.findall(lowered)
    weight = 1.0 if signals.MAKING.count(words, lowered) else 0.5
    return Features(
        tokens=sum(_bytes(part) for part in _texts(request)) // 4 + 4 * max(1, len(request.messages)),
        characters=sum(len(part) for part in _texts(request)),
        sentences=max(1, len(signals.SENTENCE_END.findall(sample))),
        constraints=signals.CONSTRAINT.count(words, lowered) + len(signals.LIST_ITEM.findall(ask)),
        turns=sum(message.role == "user" for message in request.messages) or 1,
        code=_code(sample, words, lowered, making=weight == 1.0),
        maths=_maths(words, lowered),
        creative=weight * _creative(words, lowered),
        brand=weight * _brand(words, lowered),
        reasoning=min(1.0, signals.REASONING.count(words, lowered) / _REASONING_ENOUGH),
        ambiguity=_ambiguity(request, words, plain),
        question="?" in text[-400:] or "？" in text[-400:],
        plain_ask=plain,
        structured=request.options.schema is not None or signals.STRUCTURED.count(words, lowered) > 0,
        tools=bool(request.options.tools),
        images=len(request.media) + sum(len(message.images) for message in request.messages),
        language=language(text),
    )


def language(text: str) -> str:
    """BCP-47 primary tag by script (Cyrillic reads as `ru`), then by common words; `und` where fewer than two speak, or
    for two languages alike."""
    sample = text[:_LANGUAGE_SAMPLE_CHARACTERS]
    for tag, script in () if sample.isascii() else signals.SCRIPTS:
        if len(script.findall(sample)) * 5 > len(sample):
            return tag
    words = signals.WORD.findall(sample.lower())
    hits = {tag: sum(map(common.__contains__, words)) for tag, common in signals.STOPWORDS.items()}
    second, best = sorted(hits, key=lambda tag: hits[tag])[-2:]
    return best if hits[best] >= _SURE_WORDS and hits[best] > hits[second] else "und"


def ask_of(request: Request) -> str:
    """The text that is judged: the last user turn, or the task's own text."""
    for message in reversed(request.messages):
        if message.role == "user":
            return message.content
    return request.query or (request.texts[0] if request.texts else "")


def _ask(text: str) -> tuple[str, bool]:
    """The part of a turn that asks, and whether it is a plain ask (a greeting, a summary, a translation)."""
    rest = text.lstrip(" \t\r\n,.!¡¿")
    head, start = rest[:_PREAMBLE_CHARACTERS], 0
    while preamble := signals.PREAMBLE.match(head, start):
        start = preamble.end()
    rest = rest[start:]
    if not rest:
        return text, True  # only a greeting
    if signals.PLAIN_ASK.match(rest):
        head = rest[:_PLAIN_ASK_CHARACTERS].partition("\n")[0]
        return head.partition(":")[0], True
    return (rest if len(rest) <= 2 * _ASK_EDGE_CHARACTERS else _edges(rest)), False


def _edges(text: str) -> str:
    """The first and last paragraph; one that is long is material where the other is short enough to be the ask."""
    edge = _ASK_EDGE_CHARACTERS
    first, last = text.partition("\n\n")[0], text.rpartition("\n\n")[2]
    if len(first) <= edge < len(last):
        return first
    if len(last) <= edge < len(first):
        return last
    return f"{first[:edge]}\n{last[-edge:]}"


def _code(sample: str, words: Sequence[str], lowered: str, *, making: bool) -> float:
    """A lone word is a mention ("what is an API?"); a name of the trade and a verb ask for code."""
    told = set(words)
    shapes = signals.CODE_SHAPES.findall(sample) if any(map(sample.__contains__, signals.CODE_HINTS)) else ()
    sure = signals.TECH_NAMES.count(told, lowered) + len(shapes)
    likely = signals.TECH_WORDS.count(told, lowered)
    if not sure:
        return 0.0 if likely < 2 else min(1.0, (likely - 1 + making) / _CODE_ENOUGH)
    return min(1.0, (sure + likely + making) / _CODE_ENOUGH)


def _maths(words: Sequence[str], lowered: str) -> float:
    sums = len(signals.ARITHMETIC.findall(lowered))
    hits = 2 * signals.HARD_MATHS.count(words, lowered) + signals.EASY_MATHS.count(words, lowered) + sums
    if any(asked in lowered for asked in signals.HOW_MANY):
        quantities = sum(word[0].isdecimal() or word in signals.QUANTITY_WORDS for word in words)
        hits += 2 if quantities > 1 else 0  # a word problem
    return min(1.0, hits / _MATHS_ENOUGH)


def _creative(words: Sequence[str], lowered: str) -> float:
    others = sum(lowered.count(phrase) for phrase in signals.NOT_CREATIVE)
    return min(1.0, (signals.CREATIVE.count(words, lowered) - others) / _CREATIVE_ENOUGH)


def _brand(words: Sequence[str], lowered: str) -> float:
    hits = 2 * signals.STRONG_BRAND.count(words, lowered) + signals.WEAK_BRAND.count(words, lowered)
    return min(1.0, hits / _BRAND_ENOUGH)


def _ambiguity(request: Request, words: Sequence[str], plain: bool) -> float:
    """A short first ask that points at what is not there: "make it better", "can you fix this?"."""
    if plain or len(words) > _AMBIGUOUS_WORDS or len(request.messages) > 1 or request.media:
        return 0.0
    pointing = sum(word in signals.POINTING for word in words)
    return min(1.0, pointing / _AMBIGUOUS_ENOUGH)


def _texts(request: Request) -> Iterable[str]:
    yield from (message.content for message in request.messages)
    yield from request.texts


def _bytes(text: str) -> int:
    """Four bytes a token holds better across scripts than four characters: Chinese has three bytes a character."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
