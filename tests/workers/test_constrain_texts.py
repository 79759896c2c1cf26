"""The regexes that constraints are made of, against Python's own reading of the same patterns and numbers."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.data.schemas.random_schemas import PATTERNS
from workers.constrain.characters import ANY, complement, in_json, ranges
from workers.constrain.meeting import shortest
from workers.constrain.numbers import Bounds, allowed, number_texts
from workers.constrain.pattern import NotRegular, lengths, read_pattern, to_regex

SIGNS = st.text(alphabet='abcxyz019_-@#+. \n\t"\\/éäüÉ日🙂A<', max_size=9)
DECIMALS = st.builds(lambda digits, places: Fraction(digits, 10**places), st.integers(-99999, 99999), st.integers(0, 6))
MORE = (
    *PATTERNS,
    r"[^\d]",
    r"\W+",
    r"[^\s,]{2}",
    r"^[\]\-a]+$",
    "a{2}b{1,}c{0,2}",
    r"^(a|b(c|d)?)*$",
    "^$",
    "",
    r"[\u0000-\uffff]",
)


def matches(pattern: str, text: str) -> bool:
    """Whether our regex takes the text as it stands in JSON."""
    regex = re.compile(to_regex(read_pattern(pattern)).encode(), re.DOTALL)
    return bool(regex.fullmatch(json.dumps(text, ensure_ascii=False)[1:-1].encode()))


@pytest.mark.parametrize("pattern", MORE)
@settings(max_examples=60)
@given(text=SIGNS)
def test_a_pattern_takes_nothing_that_python_would_not(pattern: str, text: str) -> None:
    assert not matches(pattern, text) or re.search(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^[a-z]+$", "abc"),
        ("foo|bar", "a bar of é🙂"),
        (r"^\S+$", "日本🙂"),
        ('^"\\\\\\n$', '"\\\n'),
        (r"^[\]\-a]+$", "]-a"),
        (r"\u00e9", "né"),
        ("^a.c$", "a🙂c"),
        ("^(?:x|y){2}$", "xy"),
        ("^a{2,3}?$", "aaa"),
        ("^{}$", "{}"),
    ],
)
def test_a_pattern_takes_what_it_means(pattern: str, text: str) -> None:
    assert re.search(pattern, text)
    assert matches(pattern, text)


@pytest.mark.parametrize(
    "pattern", ["(?!a)b", r"\bword\b", r"(a)\1", "a++", "(^a)", "a$b", "[a", "(a", "a)", r"\p{L}", "a{2000}"]
)
def test_what_is_not_regular_is_refused(pattern: str) -> None:
    with pytest.raises(NotRegular):
        read_pattern(pattern)


def test_lengths_of_a_pattern_are_exact() -> None:
    assert lengths(read_pattern("^(ab|cde)+x?$"), 8) == 0b111111100
    assert lengths(read_pattern("^[0-9]{3}$"), 8) == 0b1000
    assert lengths(read_pattern("b"), 4) == 0b11110


def test_the_shortest_string_that_two_patterns_share_is_found() -> None:
    both = (read_pattern("^[a-z]+[0-9]$"), read_pattern("xx"))
    assert shortest(both, 0, None) == 3
    assert shortest(both, 7, 9) == 7
    assert shortest(both, 0, 2) is None
    assert shortest((read_pattern("^a"), read_pattern("^b")), 0, None) is None


@given(st.integers(0, 0x10FFFF), st.integers(0, 0x10FFFF), st.characters(codec="utf-8"))
def test_the_bytes_of_a_set_are_those_of_its_characters(first: int, second: int, sign: str) -> None:
    these = ranges([(min(first, second), max(first, second))])
    inside = any(low <= ord(sign) <= high for low, high in these)
    wanted = inside and ord(sign) >= 0x20 and sign not in '"\\\x7f'
    found = bool(re.fullmatch((in_json(these) or "(?!)").encode(), sign.encode()))
    assert found == wanted


def test_a_set_and_its_complement_share_nothing_and_miss_only_surrogates() -> None:
    digits = ranges([(48, 57), (0x660, 0x669)])
    assert ranges([*digits, *complement(digits)]) == ANY == ((0, 0xD7FF), (0xE000, 0x10FFFF))


@settings(max_examples=200)
@given(
    low=st.none() | DECIMALS,
    width=st.none() | DECIMALS,
    ends=st.tuples(st.booleans(), st.booleans()),
    at=DECIMALS,
    whole=st.booleans(),
)
@example(low=Fraction(3, 10), width=Fraction(4, 10), ends=(False, False), at=Fraction(1, 2), whole=False)
@example(low=Fraction(-1, 2), width=Fraction(1, 2), ends=(True, True), at=Fraction(-1, 4), whole=False)
def test_exactly_the_numbers_of_a_range_are_taken(
    low: Fraction | None, width: Fraction | None, ends: tuple[bool, bool], at: Fraction, whole: bool
) -> None:
    high = None if width is None else (low or Fraction(0)) + abs(width)
    bounds = Bounds(low=low, high=high, above=ends[0], below=ends[1], whole=whole)
    texts = number_texts(bounds)
    value = at if low is None or high is None else low + at * (high - low) / 99999
    text = written(value)
    if texts is None:
        assert not allowed(text, bounds) or (whole and "." in text) or len(text.partition(".")[2]) > 4
    elif len(text.partition(".")[2]) <= 4:
        taken = re.fullmatch(texts.regex, text)
        assert bool(taken) == (allowed(text, bounds) and not (whole and "." in text))
        assert not taken or len(text) <= texts.most_bytes


def written(value: Fraction) -> str:
    """A decimal of at most 10 places, as short as it can be."""
    text = f"{float(value):.10f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
