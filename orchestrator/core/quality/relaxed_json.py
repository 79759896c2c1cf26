"""JSON as models without grammar support write it → its value. It mends form, and never makes up a value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

MOST_LEVELS = 100
"""Brackets inside brackets; deeper text is refused, as Python's stack would end there."""
MOST_STARTS = 50  # opening brackets that are tried as the beginning
_FENCE = re.compile(r"```[A-Za-z0-9]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_BLANK = re.compile(r"(?:\s|//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[^\W\d][\w$]*")
_ESCAPED = re.compile(r"\\(?:u[0-9a-fA-F]{4}|[^u]|u)", re.DOTALL)
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_LETTERS: Mapping[str, str] = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}


class NoJson(ValueError):
    """The text holds no JSON value that could be read without guessing."""


def parse(text: str) -> Any:
    """The value of the JSON in `text`, valid or nearly so. Raises NoJson.

    Valid JSON is read as `json.loads` reads it. Else the longest object or array in a code fence or in prose is taken;
    trailing commas, single quotes, comments, bare keys, raw line breaks in strings and Python's True, False and None
    are understood. Where the text ends early, brackets are closed and what was cut (a string, a number) is left out.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        pass
    for part in (*(match[1] for match in _FENCE.finditer(text)), text):
        found = max(_values(part), key=lambda each: (each.closed, each.end - each.start), default=None)
        if found is not None:
            return found.value
    raise NoJson(f"no JSON object or array could be read in {text[:80]!r}; ask for JSON alone")


def instruction(schema: Mapping[str, Any]) -> str:
    """The words that ask a model without grammar support for JSON of this schema."""
    written = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return (
        "Answer with exactly one JSON value that fits the JSON schema below. Write only the JSON: no other words, no "
        "code fence, no comments. Every required property must be there.\n"
        f"JSON schema: {written}"
    )


def _no_constant(name: str) -> NoReturn:
    raise NoJson(f"{name} is no JSON value")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    start: int
    end: int
    closed: bool
    value: Any


def _values(text: str) -> Iterator[_Found]:
    """Objects and arrays that begin at an opening bracket outside of those found before."""
    at, tried = 0, 0
    while (match := re.compile(r"[{\[]").search(text, at)) and tried < MOST_STARTS:
        start, tried = match.start(), tried + 1
        reader = _Reader(text, start)
        try:
            value = reader.value(0)
        except (NoJson, ValueError):
            at = start + 1
            continue
        yield _Found(start=start, end=reader.at, closed=not reader.cut, value=value)
        at = reader.at


class _Cut(Exception):
    """The text ended inside a value, which is left out."""


class _Reader:
    """Reads one value from `at` on. `cut`: the text ended before the value did."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.cut = text, at, False

    def value(self, level: int) -> Any:
        self._skip()
        sign = self._sign()
        if level > MOST_LEVELS:
            raise NoJson(f"brackets stand inside each other more than {MOST_LEVELS} times")
        if sign == "{":
            return self._object(level)
        if sign == "[":
            return self._array(level)
        if sign in "\"'":
            return self._string()
        if sign in "+-.0123456789":
            return self._number()
        return self._word()

    def _object(self, level: int) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        try:
            while not self._ends("}"):
                key = self._key()
                self._skip()
                if self._sign() != ":":
                    raise NoJson(f"a colon is missing after {key!r:.40}")
                self.at += 1
                found[key] = self.value(level + 1)
                if self.cut:
                    return found
                self._comma("}")
        except _Cut:
            self.cut = True
        return found

    def _array(self, level: int) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        try:
            while not self._ends("]"):
                found.append(self.value(level + 1))
                if self.cut:
                    return found
                self._comma("]")
        except _Cut:
            self.cut = True
        return found

    def _ends(self, bracket: str) -> bool:
        self._skip()
        if self._sign() != bracket:
            return False
        self.at += 1
        return True

    def _comma(self, bracket: str) -> None:
        self._skip()
        sign = self._sign()
        if sign == ",":
            self.at += 1
        elif sign != bracket:
            raise NoJson(f"neither a comma nor {bracket} stands before {sign!r}")

    def _key(self) -> str:
        sign = self._sign()
        if sign in "\"'":
            return self._string()
        match = _WORD.match(self.text, self.at)
        if match is None:
            raise NoJson(f"a property's name cannot begin with {sign!r}")
        self.at = match.end()
        return match[0]

    def _string(self) -> str:
        quote, pieces = self.text[self.at], []
        self.at += 1
        while (sign := self._sign()) != quote:
            if sign == "\\":
                pieces.append(self._escape())
            else:
                pieces.append(sign)
                self.at += 1
        self.at += 1
        # two escapes may be the halves of one character
        return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def _escape(self) -> str:
        match = _ESCAPED.match(self.text, self.at)
        if match is None:
            raise _Cut
        self.at = match.end()
        letter = match[0][1:]
        if len(letter) == 5:
            return chr(int(letter[1:], 16))
        known = _LETTERS.get(letter)
        return known if known is not None else letter if letter in "\"'\\/" else match[0]

    def _number(self) -> int | float:
        match = _NUMBER.match(self.text, self.at)
        end = match.end() if match else self.at
        if not self.text[end : end + 4].strip("eE+-."):
            raise _Cut  # at the end of the text more digits may be missing
        if match is None:
            raise NoJson(f"{self.text[self.at : self.at + 10]!r} is no number")
        self.at = end
        digits = match[0].lstrip("+")
        return int(digits) if digits.removeprefix("-").isdigit() else float(digits)

    def _word(self) -> Any:
        match = _WORD.match(self.text, self.at)
        if match is None or match[0] not in _WORDS:
            if match is not None and match.end() == len(self.text):
                raise _Cut
            raise NoJson(f"{self.text[self.at : self.at + 20]!r} is no JSON value")
        self.at = match.end()
        return _WORDS[match[0]]

    def _skip(self) -> None:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _sign(self) -> str:
        """The next character. Raises _Cut at the end of the text."""
        if self.at >= len(self.text):
            raise _Cut
        return self.text[self.at]
