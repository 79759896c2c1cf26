"""Ranges of numbers → regexes of their shortest decimal texts, without exponents.

Whatever matches lies in the range, read as Python reads JSON: at most 15 significant digits where a fraction is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MOST_MULTIPLES = 1000
"""How many values of a `multipleOf` are offered: those nearest to zero, or to the bound nearest to zero."""
_WHOLE = 10**15 - 1  # JSON readers that use doubles keep integers of 15 digits exact
_PLACES = 4  # digits after the point where the bounds do not ask for more
_MOST_PLACES = 15
_SIGNIFICANT = 10**15


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """A range; None: open. `above` and `below` exclude the ends. `multiples`: each must divide the value."""

    low: Fraction | None = None
    high: Fraction | None = None
    above: bool = False
    below: bool = False
    whole: bool = False
    multiples: tuple[int | float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Digits:
    """A regex of number texts, and the bytes that the longest takes."""

    regex: str
    most_bytes: int


@lru_cache(maxsize=512)
def number_texts(bounds: Bounds) -> Digits | None:
    """Texts of numbers within the bounds; None where there is none (or none with 15 digits after the point)."""
    texts = _multiples(bounds) if bounds.multiples else sorted({*_everything(bounds)})
    if not texts:
        return None
    longest = max(map(_longest, texts))
    return Digits(regex=f"(?:{'|'.join(text.replace('.', '[.]') for text in texts)})", most_bytes=longest)


def _longest(text: str) -> int:
    """The length of a text whose digit classes [a-b] stand for one character each."""
    return len(text) - 4 * text.count("[")


def _scaled(bounds: Bounds, places: int) -> tuple[int, int] | None:
    """The ends of the range in units of 10^-places, both included; None where no such number lies within."""
    unit, reach = 10**places, _WHOLE
    low = -reach * unit if bounds.low is None else math.ceil(bounds.low * unit)
    high = reach * unit if bounds.high is None else math.floor(bounds.high * unit)
    if bounds.high is None:
        high = max(high, low + reach)
    if bounds.low is None:
        low = min(low, high - reach)
    low += bounds.above and bounds.low is not None and low == bounds.low * unit
    high -= bounds.below and bounds.high is not None and high == bounds.high * unit
    return (low, high) if low <= high else None


def _everything(bounds: Bounds) -> Iterator[str]:
    whole = _scaled(bounds, 0)
    if whole:
        yield from _range(*whole, 0)
    if bounds.whole:
        return
    found = 0
    for places in range(1, _MOST_PLACES + 1):
        ends = _scaled(_narrowed(bounds, places), places)
        texts = list(_range(*ends, places)) if ends else []
        yield from texts
        found += bool(texts)
        if places >= _PLACES and (found or whole):
            return


def _narrowed(bounds: Bounds, places: int) -> Bounds:
    """Within what 15 significant digits can tell apart, which is what floats keep."""
    reach = Fraction(_SIGNIFICANT - 1, 10**places)
    low, high = bounds.low, bounds.high
    inside_low = low is not None and low >= -reach
    inside_high = high is not None and high <= reach
    return Bounds(
        low=low if inside_low else -reach,
        high=high if inside_high else reach,
        above=bounds.above and inside_low,
        below=bounds.below and inside_high,
    )


def _range(low: int, high: int, places: int) -> Iterator[str]:
    """Texts with digit classes for the integers low … high, with a point before the last `places` digits."""
    if low < 0:
        yield from ("-" + text for text in _positive(max(1, -high), -low, places))
    if high >= 0:
        yield from _positive(max(0, low), high, places)


def _positive(low: int, high: int, places: int) -> Iterator[str]:
    for digits in range(places + 1, max(places + 1, len(str(high))) + 1):
        smallest = 0 if digits == places + 1 else 10 ** (digits - 1)
        first, last = max(low, smallest), min(high, 10**digits - 1)
        if first <= last:
            for text in _same_length(str(first).zfill(digits), str(last).zfill(digits)):
                yield _pointed(text, places)


def _pointed(classes: list[str], places: int) -> str:
    if not places:
        return "".join(classes)
    return "".join(classes[:-places]) + "." + "".join(classes[-places:])


def _same_length(low: str, high: str) -> Iterator[list[str]]:
    """Digit by digit, so that together exactly low … high are matched."""
    if low == high:
        yield list(low)
    elif set(low) <= {"0"} and set(high) <= {"9"}:
        yield ["[0-9]"] * len(low)
    elif low[0] == high[0]:
        yield from ([low[0], *rest] for rest in _same_length(low[1:], high[1:]))
    elif len(low) == 1:
        yield [f"[{low}-{high}]"]
    else:
        yield from _apart(low, high)


def _apart(low: str, high: str) -> Iterator[list[str]]:
    first, last, tail = int(low[0]), int(high[0]), len(low) - 1
    if set(low[1:]) != {"0"}:
        yield from ([low[0], *rest] for rest in _same_length(low[1:], "9" * tail))
        first += 1
    if set(high[1:]) != {"9"}:
        last -= 1
    if first <= last:
        digit = str(first) if first == last else f"[{first}-{last}]"
        yield [digit, *["[0-9]"] * tail]
    if set(high[1:]) != {"9"}:
        yield from ([high[0], *rest] for rest in _same_length("0" * tail, high[1:]))


def _multiples(bounds: Bounds) -> list[str]:
    """The texts of the multiples of every divisor, nearest to zero first, as many as are offered."""
    step = _common([Fraction(repr(each)) for each in bounds.multiples])
    if bounds.whole:
        step = Fraction(step.numerator)
    low = None if bounds.low is None else math.ceil(bounds.low / step)
    high = None if bounds.high is None else math.floor(bounds.high / step)
    near = low if low is not None and low > 0 else high if high is not None and high < 0 else 0
    places = next((places for places in range(_MOST_PLACES * 2) if (step * 10**places).denominator == 1), None)
    if places is None:
        return []
    unit, texts = int(step * 10**places), []
    for distance in range(2 * MOST_MULTIPLES):
        around = dict.fromkeys((near + distance, near - distance))
        within = [count for count in around if (low is None or count >= low) and (high is None or count <= high)]
        texts += [text for text in (_decimal(count * unit, places) for count in within) if allowed(text, bounds)]
        if not within or len(texts) >= MOST_MULTIPLES:
            break
    return texts


def _common(divisors: list[Fraction]) -> Fraction:
    """The least number that all of them divide."""
    whole = math.lcm(*(each.numerator for each in divisors))
    return Fraction(whole, math.gcd(*(each.denominator for each in divisors)))


def _decimal(scaled: int, places: int) -> str:
    """`scaled` × 10^-places, without an exponent and without zeros at the end."""
    text = _pointed(list(str(abs(scaled)).zfill(places + 1)), places)
    return ("-" if scaled < 0 else "") + (text.rstrip("0").rstrip(".") if places else text)


def allowed(text: str, bounds: Bounds) -> bool:
    """Whether the number lies within the ends, as written, and is a multiple, as jsonschema computes it with floats."""
    exact, value = Fraction(text), json.loads(text)
    for each in bounds.multiples:
        quotient = value / each if isinstance(each, float) else value % each
        if (int(quotient) != quotient) if isinstance(each, float) else quotient:
            return False
    too_low = bounds.low is not None and (exact <= bounds.low if bounds.above else exact < bounds.low)
    too_high = bounds.high is not None and (exact >= bounds.high if bounds.below else exact > bounds.high)
    return not (too_low or too_high)
