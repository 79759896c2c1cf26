"""Reads what an ask plainly demands of the answer's form: JSON, a list of N, one word, a number, yes or no, a language.

Only what is said outright counts: a demand that was not made must never cost an answer its grade. Judges no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.core.reading import answers, features, lexical, signals
from orchestrator.core.types import Request

_EDGE_CHARACTERS = 500  # a demand stands at the ask's beginning or end; material pasted between is not read
_SUM_CHARACTERS = 80
_KEPT_CHARACTERS = 4_000
_MOST_ITEMS = 50
_WORDS = r"(?:words?|wörtern?|worten?|mots?|palabras?|parole|parola|palavras?|woorden|woord)\b"
_NUMBER_WORDS = {"a": 1, "one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7} | {
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
}
_COUNT = rf"(\d{{1,4}}|{'|'.join(_NUMBER_WORDS)})"

_CODE_ASK = re.compile(r"\b(?:function|script|code|program|endpoint|class|method|parser?|schema|query|library|api)\b")
_JSON = re.compile(
    r"\b(?:answer|reply|respond|return|output|write|give|present|format|provide|as|in|only|valid|antworte|réponds|responde)"
    r"\b[^.?!\n]{0,60}\bjson\b(?! (?:file|web|schema))"
)
_ITEMS = re.compile(
    rf"\b(?:list|give(?: me)?|name|suggest|provide|write|tell me|propose|recommend|nenne|donne|dame|elenca)\s+"
    rf"(?:exactly |me |the |top |my |your |best )*{_COUNT}\s+((?:[^\W\d_]+[- ]){{0,2}}[^\W\d_]+)"
)
# "Write one paragraph", "two sentences": a length, not a list.
_NO_ITEMS = frozenset(
    "words word sentences sentence paragraphs paragraph lines line pages page minutes characters stanzas verses"
    " years percent more".split()
)
_ONE_WORD = re.compile(
    r"\b(?:in|with|using|mit|in nur) (?:exactly |only |just )?(?:one|a single|1|einem(?: einzigen)?) (?:word|wort)\b"
    r"|\b(?:one|single)[- ]word answer|\ben un(?: seul)? mot\b|\ben una(?: sola)? palabra\b|\bin una(?: sola)? parola\b"
    r"|\b(?:em|com) uma(?: só)? palavra\b|\bin één woord\b"
)
_MOST_WORDS = re.compile(
    r"\b(?:at most|no more than|not more than|up to|under|fewer than|less than|within|max(?:imum)?(?: of)?\.?|limit of"
    r"|höchstens|maximal|au plus|maximum|como máximo|máximo|al massimo|no máximo|hoogstens) (?:de )?"
    rf"(\d{{1,4}}) {_WORDS}"
    r"|\b(\d{1,4}) words (?:or (?:less|fewer)|max(?:imum)?)\b"
)
_SENTENCES = re.compile(rf"\b(?:in|with|write|exactly|at most) (?:exactly |only |just |at most )?{_COUNT} sentences?\b")
_NUMBER = re.compile(
    r"\b(?:answer|reply|respond) (?:only |just )?with (?:only |just )?(?:a|the|one|a single|the final) "
    r"(?:whole )?(?:number|integer)\b|\b(?:only|just) the (?:final )?number\b|\bnumber only\b"
)
_YES_NO = re.compile(r"\byes(?: or |/)no\b|\b(?:answer|reply|respond)\b[^.?!\n]{0,20}\b(?:true(?: or |/)false)\b")
# A language's name inside another word only releases an answer from the ask's language: no harm.
_LANGUAGES = tuple(
    "translat übersetz tradu vertaal vertal 翻译 翻訳 번역 перевод переведи english englisch anglais inglés inglese"
    " inglês engels german deutsch allemand alemán tedesco alemão duits french französ français francés francese"
    " francês frans spanish spanisch espagnol español spagnolo espanhol spaans italian italien portug dutch niederländ"
    " néerland neerland olandes holand nederlands chinese mandarin japanese korean russian arabic hebrew hindi greek"
    " thai latin polish turkish swedish ukrainian language sprache langue idioma lingua língua taal".split()
)
_SUM = re.compile(
    r"(?:(?:what(?:['’]?s| is)|how much is|calculate|compute|evaluate|was ist|wie viel ist|combien font|cuánto es)"
    r"[\s:]+)?"
    r"(\(?\d[\d.,\s+*/x×÷()-]*\d\)?)\s*[=?.\s]*"
)
# Quantities to work out. "Find a hotel for 2 from 3 to 5 May" has numbers too, but no single right answer.
_CLOSED = re.compile(
    r"\b(?:how (?:many|much|far|long|old|tall|fast)|calculate|compute|solve (?:for|the|\S{1,9} ?[=+-])"
    r"|(?:find|determine|evaluate|express|give|what(?:'s| is| was| are| will be)) (?:the|its|his|her|their)"
    r" (?:[\w-]+ ){0,3}(?:value|number|total|sum|probability|area|volume|ratio|average|mean|percentage|cost|price"
    r"|output|result|length|distance|speed|age|profit|remainder|product|amount|time|measure|difference|degree|radius"
    r"|root)s?|wie viele?|combien|cuánt[oa]s?|quant[oiae]|hoeveel)\b"
)
_IN_SYMBOLS = re.compile(r"\b(?:find|determine|evaluate|simplify|express|compute|what|which|if|let|suppose)\b")
# What suits somebody is advice.
_ADVICE = re.compile(r"\b(?:should|do|can|could) (?:i|we|you)\b|\bmy\b|\bour\b")
_WORD_STEMS = ("word", "wort", "wört", "mot", "palabra", "parol", "palavra", "woord")
_LISTING = tuple("list give name suggest provide write tell propose recommend nenne donne dame elenca".split())
_QUANTITIES = tuple(
    "how calculate compute find determine evaluate express give solve what wie combien cuánt quant hoeveel".split()
)
_SPOKEN_CHARACTERS, _SPOKEN_WORDS = 400, 60
_SPOKEN_IN = {
    word: tuple(tag for tag, common in signals.STOPWORDS.items() if word in common)
    for word in frozenset[str]().union(*signals.STOPWORDS.values())
}
STEM = 4
_COMMON_STEMS = frozenset(word[:STEM] for word in _SPOKEN_IN if len(word) >= STEM)
_DIGITS = re.compile(r"\d+")
_ENOUGH_NUMBERS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Demands:
    """What the ask says of its answer. None and False: it does not say. `closed`: it has one right answer (options to
    choose from, a quantity to work out, the output of given code). `total` is the value of a bare sum asked for."""

    json: bool = False
    items: int | None = None
    one_word: bool = False
    most_words: int | None = None
    sentences: int | None = None
    number: bool = False
    yes_no: bool = False
    language: str | None = None
    any_language: bool = False
    """It names a language, or speaks of translating: the answer need not be in its own."""
    total: float | None = None
    closed: bool = False
    question: bool = False
    options: int = 0
    topic: frozenset[str] = frozenset()
    """The first four letters of its longer words."""


def demands_of(request: Request) -> Demands:
    """Of the last user turn; a language named anywhere in the conversation releases the answer from the ask's own."""
    ask = features.ask_of(request)
    free = any(
        _names(message.content[:_EDGE_CHARACTERS].lower(), _LANGUAGES)
        for message in request.messages
        if message.role in ("system", "developer")
    )
    return read(ask, free=free)


def read(ask: str, *, free: bool = False) -> Demands:
    """The demands of one ask. Those of short asks that came last are kept: a cascade reads one ask at every rung."""
    return _kept(ask, free) if len(ask) <= _KEPT_CHARACTERS else _read(ask, free)


@lru_cache(maxsize=64)
def _kept(ask: str, free: bool) -> Demands:
    return _read(ask, free)


def _read(ask: str, free: bool) -> Demands:
    lowered = _edges(ask).lower()
    free = free or _names(lowered, _LANGUAGES)
    options = len(lexical.options_of(ask)) if "\n" in ask else 0
    closed = options > 1 or _closed(ask, lowered)
    words = _names(lowered, _WORD_STEMS)
    return Demands(
        json="json" in lowered and bool(_JSON.search(lowered)) and not _CODE_ASK.search(lowered),
        items=_items(lowered) if _names(lowered, _LISTING) else None,
        one_word=words and bool(_ONE_WORD.search(lowered)),
        most_words=_most_words(lowered) if words else None,
        sentences=_sentences(lowered) if "sentence" in lowered else None,
        number=("number" in lowered or "integer" in lowered) and bool(_NUMBER.search(lowered)),
        yes_no=("yes" in lowered or "true" in lowered) and bool(_YES_NO.search(lowered)),
        language=None if free else spoken(ask),
        any_language=free,
        total=_total(lowered),
        closed=closed,
        question=ask.rstrip().endswith(("?", "？")),
        options=options,
        topic=frozenset() if closed else _topic(lowered),
    )


def _names(lowered: str, parts: Iterable[str]) -> bool:
    """Whether any of these parts of words is in the text: a search ten times as fast as the pattern it guards."""
    return any(map(lowered.__contains__, parts))


def _topic(lowered: str) -> frozenset[str]:
    return frozenset(word[:STEM] for word in lowered.split() if len(word) >= STEM) - _COMMON_STEMS


def spoken(text: str, words: Sequence[str] | None = None) -> str | None:
    """The language of the text's beginning where that is plain, else None: a script, or at least three different
    common words of one language and half as many of any other. `words` are the text's, where they are split already."""
    sample = text[:_SPOKEN_CHARACTERS]
    if not sample.isascii():
        for tag, script in signals.SCRIPTS:
            if len(script.findall(sample)) * 3 > len(sample):
                return tag
    hits = dict.fromkeys(signals.STOPWORDS, 0)
    told = sample.lower().split() if words is None else map(str.lower, words[:_SPOKEN_WORDS])
    for word in set(told):
        for tag in _SPOKEN_IN.get(word, ()):
            hits[tag] += 1
    best = max(hits, key=hits.__getitem__)
    most = hits.pop(best)
    return best if most >= 3 and most >= 2 * max(hits.values()) else None


def _edges(ask: str) -> str:
    if len(ask) <= 2 * _EDGE_CHARACTERS:
        return ask
    return f"{ask[:_EDGE_CHARACTERS]}\n{ask[-_EDGE_CHARACTERS:]}"


def _items(lowered: str) -> int | None:
    for found in _ITEMS.finditer(lowered):
        number = _count(found[1])
        if 2 <= number <= _MOST_ITEMS and not _NO_ITEMS.intersection(re.split(r"[- ]", found[2])):
            return None if _CODE_ASK.search(lowered) else number
    return None


def _most_words(lowered: str) -> int | None:
    found = _MOST_WORDS.search(lowered)
    return int(found[1] or found[2]) or None if found else None


def _sentences(lowered: str) -> int | None:
    found = _SENTENCES.search(lowered)
    return _count(found[1]) if found else None


def _count(word: str) -> int:
    return int(word) if word.isdecimal() else _NUMBER_WORDS[word]


def _total(lowered: str) -> float | None:
    asked = lowered.strip()
    found = _SUM.fullmatch(asked) if len(asked) <= _SUM_CHARACTERS else None
    return answers.total(found[1]) if found and "(" not in found[1] else None


def _closed(ask: str, lowered: str) -> bool:
    if ("assert" in lowered and "??" in lowered) or ("\\" in ask and _IN_SYMBOLS.search(lowered)):
        return True
    if not _names(lowered, _QUANTITIES) or not _CLOSED.search(lowered):
        return False
    return len(_DIGITS.findall(lowered)) >= _ENOUGH_NUMBERS and not _ADVICE.search(lowered)
