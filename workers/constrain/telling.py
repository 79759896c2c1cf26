"""Names of further properties that must differ: each begins with letters that no other begins with."""

from __future__ import annotations

from dataclasses import replace

from workers.constrain.characters import ranges
from workers.constrain.pattern import ANYTHING, Chars, Seq
from workers.constrain.shapes import Text

_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"  # by frequency in English, dealt out in turn
MOST_TOLD = len(_LETTERS)


def first_letters(name: Text, number: int, of: int) -> Text:
    """`name`, narrowed to the share of first letters that is dealt to `number` out of `of` (MOST_TOLD at most)."""
    dealt = _LETTERS[number::of]
    signs = ranges((ord(sign), ord(sign)) for letter in dealt for sign in (letter, letter.upper()))
    return replace(name, least=max(1, name.least), patterns=(*name.patterns, Seq((Chars(signs), ANYTHING))))
