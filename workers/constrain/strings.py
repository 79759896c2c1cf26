"""Strings of a bounded number of bytes as terminals of a grammar, quotes included."""

from __future__ import annotations

import math

from workers.constrain.characters import ANY, in_json
from workers.constrain.meeting import shortest
from workers.constrain.merging import MOST_LENGTH, fitting_lengths
from workers.constrain.pattern import NotRegular, char_bytes, to_regex
from workers.constrain.reading import json_text
from workers.constrain.shapes import Text
from workers.modality import Code, WorkerError

QUOTES = 2  # bytes
_WIDEST = 4  # bytes of a character in UTF-8
_SOME = 16  # bytes that a string without a maximum must get, or the budget is called too small
_CHARACTER = in_json(ANY)
_BYTE = r"[\x00-\xff]"


def least_bytes(text: Text) -> float:
    """The bytes without which no string is promised to fit; infinite where there is no such string."""
    if text.most is not None and text.most < text.least:
        return math.inf
    if not text.patterns:
        wanted = _SOME if text.most is None else min(_SOME, text.most)
        return QUOTES + max(text.least, wanted)
    fitting = _lengths(text)
    if not fitting:
        return math.inf
    return QUOTES + _shortest(fitting) * _per_character(text)


def most_bytes(text: Text) -> float:
    """The bytes that the longest string takes; infinite where none is longest."""
    if not text.patterns:
        return math.inf if text.most is None else QUOTES + _WIDEST * text.most
    if len(text.patterns) > 1:
        return math.inf
    longest = _lengths(text).bit_length() - 1
    if text.most is None and longest >= min(MOST_LENGTH, text.least + 512) - 1:
        return math.inf
    return QUOTES + longest * _per_character(text)


def terminal(text: Text, budget: int) -> str:
    """A Lark terminal for the strings that take at most `budget` bytes, quotes included."""
    room = budget - QUOTES
    wholes = [f"/{to_regex(node)}/" for node in text.patterns]
    if not text.patterns or text.least or text.most is not None:
        most = "" if text.most is None else str(text.most)
        wholes.append(f"/{_CHARACTER}{{{text.least},{most}}}/")
    if most_bytes(text) > budget:
        wholes.append(f"/{_BYTE}{{0,{room}}}/")
    if text.names:
        wholes.append(f"~/(?:{'|'.join(escaped(json_text(name)[1:-1]) for name in text.names)})/")
    return f'"\\"" ({" & ".join(wholes)}) "\\""'


def escaped(text: str) -> str:
    """A byte regex that matches exactly this text."""
    return "".join(rf"\x{byte:02x}" for byte in text.encode())


def _lengths(text: Text) -> int:
    """Bit n: there are strings of n characters. Of several patterns only the shortest common one is looked for."""
    if len(text.patterns) < 2:
        return fitting_lengths(text.patterns, text.least, text.most)
    try:
        found = shortest(text.patterns, text.least, text.most)
    except NotRegular as error:
        raise WorkerError(Code.INVALID_INPUT, f"the schema cannot be followed: {error}") from error
    return 0 if found is None else 1 << found


def _shortest(fitting: int) -> int:
    return (fitting & -fitting).bit_length() - 1


def _per_character(text: Text) -> int:
    return min(char_bytes(node) for node in text.patterns)
