"""The regular expressions that schemas carry (`pattern`): read, measured, and turned into regexes over JSON text.

The dialect is what ECMA 262 and Python's `re` agree on; what a grammar cannot follow is refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workers.constrain.characters import ANY, LAST, Ranges, complement, in_json, most_bytes, ranges

NOTHING = r"[^\x00-\xff]"  # a byte regex that nothing matches
MOST_REPEATS = 1000  # a larger {m,n} is refused


class NotRegular(Exception):
    """The message says which part of a pattern cannot be followed, in words that follow "pattern …"."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    these: Ranges


@dataclass(frozen=True, slots=True)
class Seq:
    """Parts one after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of several."""

    choices: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part `least` to `most` times; None: any number."""

    part: Node
    least: int
    most: int | None


Node = Chars | Seq | Alt | Repeat
ANYTHING = Repeat(Chars(ANY), 0, None)

_DIGITS = ranges([(48, 57)])
_WORD = ranges([(48, 57), (65, 90), (95, 95), (97, 122)])
_SPACE = ranges([(9, 13), (32, 32)])
_BEYOND_ASCII = ((0x80, LAST),)
_SPACES = ((9, 13), (28, 32), (133, 133), (160, 160), (5760, 5760), (8192, 8202), (8232, 8233), (8239, 8239))
_ALL_SPACES = ranges((*_SPACES, (8287, 8287), (12288, 12288), (65279, 65279)))
# What surely belongs to a shorthand in both dialects (Python's \d and \w reach beyond ASCII, ECMA's do not) …
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE, "S": complement(_ALL_SPACES)}
_CLASSES |= {name: complement(ranges((*_CLASSES[name.lower()], *_BEYOND_ASCII))) for name in "DW"}
# … and what may belong to it in one of them: a negated class leaves all of that out.
_MAY = {"d": ranges((*_DIGITS, *_BEYOND_ASCII)), "w": ranges((*_WORD, *_BEYOND_ASCII)), "s": _ALL_SPACES}
_MAY |= {name: complement(_CLASSES[name.lower()]) for name in "DWS"}
_LETTERS = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "0": 0, "a": 7}
_NO_NEWLINE = complement(ranges([(10, 10), (13, 13), (0x2028, 0x2029)]))
_TIMES = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def read_pattern(text: str) -> Node:
    """A pattern as a schema means it: it may match anywhere unless `^` and `$` stand at its ends. Raises NotRegular."""
    reader = _Reader(text)
    node = reader.branches()
    if reader.at < len(text):
        raise NotRegular(f"{text!r} has a ) too many")
    return node


def to_regex(node: Node) -> str:
    """A regex over the bytes of JSON text, between the quotes. An empty set matches nothing."""
    match node:
        case Chars(these):
            return in_json(these) or NOTHING
        case Seq(parts):
            return "".join(to_regex(part) for part in parts)
        case Alt(choices):
            return f"(?:{'|'.join(to_regex(choice) for choice in choices)})"
        case Repeat(part, least, most):
            return f"(?:{to_regex(part)}){{{least},{'' if most is None else most}}}"


def lengths(node: Node, limit: int) -> int:
    """Which lengths in characters, up to `limit`, the strings of `node` have: bit n is set where n is one of them."""
    mask = (1 << (limit + 1)) - 1
    match node:
        case Chars(these):
            return (2 & mask) if in_json(these) else 0
        case Seq(parts):
            total = 1
            for part in parts:
                total = _sums(total, lengths(part, limit), mask)
            return total
        case Alt(choices):
            return _either(lengths(choice, limit) for choice in choices)
        case Repeat(part, least, most):
            return _repeated(lengths(part, limit), least, most, mask)


def _either(several: Iterable[int]) -> int:
    total = 0
    for one in several:
        total |= one
    return total


def _sums(left: int, right: int, mask: int) -> int:
    if left.bit_count() > right.bit_count():
        left, right = right, left
    total = 0
    while left:
        lowest = left & -left
        total |= right * lowest
        left ^= lowest
    return total & mask


def _repeated(one: int, least: int, most: int | None, mask: int) -> int:
    total = 1
    for _ in range(least):
        total = _sums(total, one, mask)
    rounds = mask.bit_length() if most is None else most - least
    for _ in range(rounds):
        grown = total | _sums(total, one, mask)
        if grown == total:
            break
        total = grown
    return total


def char_bytes(node: Node) -> int:
    """The most bytes that one character of these strings takes in JSON text."""
    match node:
        case Chars(these):
            return most_bytes(these)
        case Seq(parts) | Alt(parts):
            return max((char_bytes(part) for part in parts), default=0)
        case Repeat(part, _, most):
            return 0 if most == 0 else char_bytes(part)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def branches(self) -> Node:
        """Alternatives at this level. At the top each is anchored or padded on its own."""
        choices = [self._branch()]
        while self._take("|"):
            choices.append(self._branch())
        return choices[0] if len(choices) == 1 else Alt(tuple(choices))

    def _branch(self) -> Node:
        parts: list[Node] = []
        starts, ends = self._anchor("^"), False
        while self.at < len(self.text) and self._peek() not in "|)":
            if self._anchor("$"):
                ends = True
                if self.at < len(self.text) and self._peek() not in "|)":
                    raise NotRegular(f"{self.text!r} has $ before its end")
                break
            parts.append(self._repeated())
        if self.depth:
            if starts or ends:
                raise NotRegular(f"{self.text!r} has ^ or $ inside a group")
            return Seq(tuple(parts))
        return Seq((*(() if starts else (ANYTHING,)), *parts, *(() if ends else (ANYTHING,))))

    def _anchor(self, sign: str) -> bool:
        if self.at < len(self.text) and self.text[self.at] == sign:
            self.at += 1
            return True
        return False

    def _peek(self) -> str:
        return self.text[self.at]

    def _take(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def _repeated(self) -> Node:
        node = self._atom()
        while self.at < len(self.text):
            sign = self._peek()
            counts = _TIMES.get(sign) or (self._counts() if sign == "{" else None)
            if counts is None:
                break
            self.at += sign in _TIMES
            if not self._take("?") and self.at < len(self.text) and self._peek() == "+":
                raise NotRegular(f"{self.text!r} has a possessive quantifier")
            node = Repeat(node, *counts)
        return node

    def _counts(self) -> tuple[int, int | None] | None:
        """{m}, {m,} or {m,n}; None where the brace is an ordinary character."""
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : max(end, 0)].partition(",")
        if end < 0 or not low.isdigit() or (high and not high.isdigit()):
            return None
        if max(int(low), int(high or 0)) > MOST_REPEATS:
            raise NotRegular(f"{self.text!r} repeats more than {MOST_REPEATS} times")
        self.at = end + 1
        return int(low), (int(high) if high else None if comma else int(low))

    def _atom(self) -> Node:
        sign = self._peek()
        self.at += 1
        if sign == "(":
            return self._group()
        if sign == "[":
            return Chars(self._class())
        if sign == "\\":
            return Chars(self._escape(_CLASSES, in_class=False))
        if sign in "*+?":
            raise NotRegular(f"{self.text!r} repeats nothing")
        if sign in "^$":
            raise NotRegular(f"{self.text!r} has {sign} in its middle")
        return Chars(_NO_NEWLINE if sign == "." else ranges([(ord(sign), ord(sign))]))

    def _group(self) -> Node:
        if self._take("?"):
            named = self._take("P<") or (self.text[self.at : self.at + 2] not in ("<=", "<!") and self._take("<"))
            if named:
                self.at = self.text.find(">", self.at) + 1
            elif not self._take(":"):
                raise NotRegular(f"{self.text!r} looks around or sets flags: (?{self.text[self.at : self.at + 2]}")
        self.depth += 1
        node = self.branches()
        self.depth -= 1
        if not self._take(")"):
            raise NotRegular(f"{self.text!r} has an unclosed (")
        return node

    def _class(self) -> Ranges:
        negated, first = self._take("^"), True
        pairs: list[tuple[int, int]] = []
        while first or not self._take("]"):
            if self.at >= len(self.text):
                raise NotRegular(f"{self.text!r} has an unclosed [")
            low, first = self._member(_MAY if negated else _CLASSES), False
            if self.text[self.at : self.at + 1] == "-" and self.text[self.at + 1 : self.at + 2] not in ("", "]"):
                self.at += 1
                high = self._member(_CLASSES)
                pairs.append((low[0][0], high[-1][1]))
            else:
                pairs.extend(low)
        return complement(ranges(pairs)) if negated else ranges(pairs)

    def _member(self, classes: Mapping[str, Ranges]) -> Ranges:
        sign = self._peek()
        self.at += 1
        return self._escape(classes, in_class=True) if sign == "\\" else ((ord(sign), ord(sign)),)

    def _escape(self, classes: Mapping[str, Ranges], *, in_class: bool) -> Ranges:
        sign = self.text[self.at : self.at + 1]
        self.at += 1
        if sign in classes:
            return classes[sign]
        if sign in ("x", "u", "U"):
            return self._hex({"x": 2, "u": 4, "U": 8}[sign])
        if in_class and sign == "b":
            return ((8, 8),)
        if not sign or (sign.isalnum() and sign not in _LETTERS) or (sign == "0" and self._digit_follows()):
            raise NotRegular(f"{self.text!r} has \\{sign}, which is not supported")
        code = _LETTERS.get(sign, ord(sign))
        return ((code, code),)

    def _digit_follows(self) -> bool:
        return self.text[self.at : self.at + 1].isdigit()

    def _hex(self, digits: int) -> Ranges:
        text = self.text[self.at : self.at + digits]
        self.at += digits
        try:
            code = int(text, 16)
        except ValueError as error:
            raise NotRegular(f"{self.text!r} has an escape without its {digits} hex digits") from error
        if code > LAST or len(text) < digits:
            raise NotRegular(f"{self.text!r} has an escape that is no character")
        return ranges([(code, code)])
