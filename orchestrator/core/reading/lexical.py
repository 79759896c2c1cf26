"""Turns a text into hashed word counts and surface signals, the same at training and at run time; judges nothing."""

from __future__ import annotations

import math
import re
from binascii import crc32
from collections.abc import Mapping

# Words (a number is a word), and every mark on its own: `.` `$` `\\` tell prose from maths and code.
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_+")
_MOST_CHARACTERS = 12_000  # of one text; a longer one is judged by its two ends
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LATEX = re.compile(r"\\[a-zA-Z]+|\$|\^\{?|_\{")
_CODE = re.compile(r"```|\bdef \w+\(|\bassert\b|\breturn\b|==|[{};]\s*$|\(\)|\[\]", re.MULTILINE)
_OPTION = re.compile(r"^[^\S\n]*\(?([A-Z])[.):]\s*(.*)$", re.MULTILINE)
_NEGATED = re.compile(r"\b(?:not|except|never|least|cannot|without|false|incorrect|n't)\b", re.IGNORECASE)
_ASKS = ("what", "which", "who", "when", "where", "why", "how", "find", "calculate", "determine", "if", "let", "write")
_REASONING = re.compile(r"\b(?:therefore|because|suppose|assume|hence|such that|given that|prove)\b", re.IGNORECASE)
_UNITS = re.compile(
    r"%|°|\b(?:percent|dollars?|hours?|minutes?|km|miles|kg|cm|mol|volts?|feet|years?)\b", re.IGNORECASE
)

SIGNALS = (
    *("characters", "words", "word_length", "sentences", "lines", "digits", "numbers", "large_numbers"),
    *("capitals", "punctuation", "latex", "code", "negations", "quotes", "blanks", "not_ascii", "questions"),
    *("options", "option_length", "option_spread", "numeric_options", "reasoning", "units", "repetition", "statements"),
    *(f"asks_{word}" for word in _ASKS),
)


def tokens(text: str) -> list[str]:
    """Lower-case words and single marks, in order."""
    if len(text) > _MOST_CHARACTERS:
        text = text[: _MOST_CHARACTERS // 2] + text[-_MOST_CHARACTERS // 2 :]
    return _TOKEN.findall(text.lower())


def counts(text: str, buckets: int) -> dict[int, float]:
    """1 + ln(count) of each word and pair of neighbouring words, by bucket (CRC-32 of its UTF-8 modulo `buckets`)."""
    found: dict[int, float] = {}
    before = ""
    for token in tokens(text):
        for term in (token, f"{before} {token}") if before else (token,):
            bucket = crc32(term.encode()) % buckets
            found[bucket] = found.get(bucket, 0.0) + 1.0
        before = token
    return {bucket: 1.0 + math.log(count) for bucket, count in found.items()}


def signals(text: str) -> list[float]:
    """One number per name in SIGNALS: logarithms of lengths and counts, shares of characters, 0 or 1 for forms."""
    words, found = text.split(), _shares(text)
    options = options_of(text)
    stem = text[: text.find("\nA")] if options and "\nA" in text else text
    last = stem.rstrip().rsplit(". ", 1)[-1].lower().split()
    numbers = _NUMBER.findall(text)
    found |= {
        "characters": math.log1p(len(text)),
        "words": math.log1p(len(words)),
        "word_length": len(text) / max(1, len(words)),
        "sentences": math.log1p(text.count(". ") + text.count("? ")),
        "lines": math.log1p(text.count("\n")),
        "numbers": math.log1p(len(numbers)),
        "large_numbers": math.log1p(sum(len(number) > 3 for number in numbers)),
        "latex": math.log1p(len(_LATEX.findall(text))),
        "code": math.log1p(len(_CODE.findall(text))),
        "negations": math.log1p(len(_NEGATED.findall(stem))),
        "blanks": float("__" in text),
        "questions": math.log1p(stem.count("?")),
        "reasoning": math.log1p(len(_REASONING.findall(text))),
        "units": math.log1p(len(_UNITS.findall(text))),
        "repetition": 1 - len(set(words)) / max(1, len(words)),
        "statements": float("Statement" in text or "Scenario" in text),
    }
    found |= {f"asks_{word}": float(word in last) for word in _ASKS}
    found |= _option_signals(options)
    return [found[name] for name in SIGNALS]


def options_of(text: str) -> dict[str, str]:
    """Letter → text of the answer options that stand on lines of their own; empty where there are not two."""
    found = {match[1]: match[2].strip() for match in _OPTION.finditer(text)}
    return found if len(found) >= 2 and "A" in found else {}


def _shares(text: str) -> dict[str, float]:
    size = max(1, len(text))
    return {
        "digits": sum(map(text.count, "0123456789")) / size,
        "capitals": sum(map(str.isupper, text[:2000])) / min(size, 2000),
        "punctuation": sum(map(text.count, ".,;:!?()[]-+=*/")) / size,
        "quotes": sum(map(text.count, "\"'`")) / size,
        "not_ascii": 0.0 if text.isascii() else sum(ord(each) > 127 for each in text[:2000]) / min(size, 2000),
    }


def _option_signals(options: Mapping[str, str]) -> dict[str, float]:
    lengths = [len(option) for option in options.values()] or [0]
    mean = sum(lengths) / len(lengths)
    return {
        "options": float(len(options)),
        "option_length": math.log1p(mean),
        "option_spread": math.log1p(max(lengths) - min(lengths)),
        "numeric_options": sum(bool(_NUMBER.search(option)) for option in options.values()) / max(1, len(options)),
    }
