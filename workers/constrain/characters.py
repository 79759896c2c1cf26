"""Sets of characters, and how a string's characters look inside JSON text, as regexes over bytes.

Bytes, because an answer is bounded in bytes: a token is at least one. Nothing here knows schemas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Ranges = tuple[tuple[int, int], ...]
"""Sorted code point ranges that neither touch nor overlap; both ends included."""

LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_SHORT = {0x22: '"', 0x5C: "\\", 0x0A: "n", 0x09: "t", 0x0D: "r", 0x08: "b", 0x0C: "f"}
_WIDE = 1000  # a set this large was not meant to ask for control characters
_UTF8_STEPS = (0x7F, 0x7FF, 0xFFFF, LAST)


def ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted and merged, without surrogates, which no JSON text may carry."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        elif low <= high:
            merged.append((low, high))
    return tuple(part for pair in merged for part in _without(pair, *_SURROGATES))


def _without(pair: tuple[int, int], low: int, high: int) -> Iterator[tuple[int, int]]:
    if pair[0] < low:
        yield pair[0], min(pair[1], low - 1)
    if pair[1] > high:
        yield max(pair[0], high + 1), pair[1]


def complement(these: Ranges) -> Ranges:
    """Every other character."""
    start, gaps = 0, []
    for low, high in these:
        gaps.append((start, low - 1))
        start = high + 1
    return ranges((*gaps, (start, LAST)))


def size(these: Ranges) -> int:
    """How many characters the set has."""
    return sum(high - low + 1 for low, high in these)


ANY = ranges([(0, LAST)])


def in_json(these: Ranges) -> str:
    """A byte regex of one character of the set as it stands between a JSON string's quotes; "" for an empty set."""
    forms = [*_escapes(these), *(form for pair in _plain(these) for form in _utf8(*pair))]
    return f"(?:{'|'.join(_joined(forms))})" if forms else ""


def most_bytes(these: Ranges) -> int:
    """The bytes that the longest of these characters takes in JSON text."""
    plain = [_length(high) for _, high in _plain(these)]
    return max([*plain, *(len(form.replace("\\\\", "\\")) for form in _escapes(these))], default=0)


def _plain(these: Ranges) -> Iterator[tuple[int, int]]:
    """The ranges that JSON lets stand as they are; U+007F is left out, as tokenizers tend to."""
    for low, high in these:
        for cut in _without((low, high), 0, 0x1F):
            for left in _without(cut, 0x22, 0x22):
                for rest in _without(left, 0x5C, 0x5C):
                    yield from _without(rest, 0x7F, 0x7F)


def _escapes(these: Ranges) -> list[str]:
    """Byte regexes of the characters that JSON must escape. From a wide set only quote, backslash, \\n and \\t."""
    named = (0x22, 0x5C, 0x0A, 0x09) if size(these) > _WIDE else (*range(0x20), 0x22, 0x5C, 0x7F)
    there = [code for code in named if any(low <= code <= high for low, high in these)]
    return [_escape(code) for code in there]


def _escape(code: int) -> str:
    if code not in _SHORT:
        return rf"\\u00{code:02x}"
    letter = _SHORT[code]
    return r"\\" + ("\\\\" if letter == "\\" else letter)


def _length(code: int) -> int:
    return next(number for number, last in enumerate(_UTF8_STEPS, 1) if code <= last)


def _utf8(low: int, high: int) -> Iterator[str]:
    """Byte regexes that together match exactly the UTF-8 forms of low … high."""
    start = low
    for last in _UTF8_STEPS:
        if start <= min(last, high):
            yield from _sequences(chr(start).encode(), chr(min(last, high)).encode())
            start = last + 1


def _sequences(low: bytes, high: bytes) -> Iterator[str]:
    """Both ends have the same length; splits until every position is a free range of its own."""
    if len(low) == 1:
        yield _span(low[0], high[0])
        return
    first, last = low[0], high[0]
    if first == last:
        yield from (_span(first, first) + rest for rest in _sequences(low[1:], high[1:]))
        return
    tail_low, tail_high = b"\x80" * (len(low) - 1), b"\xbf" * (len(low) - 1)
    if low[1:] != tail_low:
        yield from (_span(first, first) + rest for rest in _sequences(low[1:], tail_high))
        first += 1
    if high[1:] != tail_high:
        last -= 1
    if first <= last:
        yield _span(first, last) + _span(0x80, 0xBF) * (len(low) - 1)
    if high[1:] != tail_high:
        yield from (_span(high[0], high[0]) + rest for rest in _sequences(tail_low, high[1:]))


def _span(low: int, high: int) -> str:
    return rf"[\x{low:02x}-\x{high:02x}]"


def _joined(forms: list[str]) -> list[str]:
    """Single bytes gathered in one class, the rest as they are."""
    single = [form for form in forms if form.startswith("[") and form.index("]") == len(form) - 1]
    others = [form for form in forms if form not in single]
    return [f"[{''.join(form[1:-1] for form in single)}]", *others] if single else others
