"""A schema and a number of bytes → a grammar under which no answer is longer, and every answer fits the schema.

What the schema leaves open gets a bound here: bytes are shared among the open places by weight, so that a body gets
much and a title some. It never widens; it drops optional parts only where they do not fit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from workers.constrain.numbers import Digits, number_texts
from workers.constrain.pattern import NOTHING
from workers.constrain.reading import Reading, json_text
from workers.constrain.shapes import Branch, Conj, Distinct, Extra, Items, Member, Members, Number, Text, Values
from workers.constrain.sizes import MOST_ITEMS, Sizes, name_bytes
from workers.constrain.strings import QUOTES, escaped, least_bytes, terminal
from workers.constrain.telling import first_letters
from workers.modality import Code, WorkerError

# Forcing would make llama.cpp tokenize fixed text anew, for some tokenizers with a blank in front that fits nothing.
HEADER = '%llguidance {"no_forcing": true, "allow_invalid_utf8": true}'
_MOST_LITERALS = 50
_NAME_SHARE = 4  # a further property's name gets one byte in so many
_NAME_BYTES = 48  # and no more than this


def bounded_grammar(schema: Mapping[str, Any], budget: int) -> tuple[str, int]:
    """A Lark grammar for llguidance, and the bytes that its longest answer takes, at most `budget`.

    The grammar speaks of bytes, all of them valid UTF-8. Raises WorkerError `invalid_input`.
    """
    reading = Reading(schema)
    sizes = Sizes(reading)
    least = sizes.least(reading.root)
    if math.isinf(least):
        raise WorkerError(Code.INVALID_INPUT, "nothing can fit this schema (its parts contradict each other); relax it")
    if least > budget:
        raise WorkerError(
            Code.INVALID_INPUT,
            f"an answer to this schema may need {int(least) + 1} tokens, but max_tokens is {budget + 1}; "
            f"allow at least {int(least) + 1}, or shorten names, enums and minimum lengths",
        )
    return _Writer(reading, sizes).grammar(budget)


class _Writer:
    """Rules by place and budget. Every method that returns an int with its text returns the most bytes of it."""

    def __init__(self, reading: Reading, sizes: Sizes) -> None:
        self._reading, self._sizes = reading, sizes
        self._rules: dict[str, str] = {}  # body → name
        self._terminals: dict[str, str] = {}
        self._known: dict[tuple[str, int], tuple[str, int]] = {}

    def grammar(self, budget: int) -> tuple[str, int]:
        start, cost = self._place(self._reading.root, budget)
        rules = [f"{name}: {body}" for body, name in self._rules.items()]
        terminals = [f"{name}: {body}" for body, name in self._terminals.items()]
        return "\n".join([HEADER, f"start: {start}", *rules, *terminals, ""]), cost

    def _place(self, place: Conj, budget: float) -> tuple[str, int]:
        """A rule for any value of this place within the budget, which is at least the place's least."""
        most = self._sizes.most(place)
        key = (place.key, int(min(budget, most)))
        if key not in self._known:
            several = [each for each in self._reading.branches(place) if self._sizes.least_of(each) <= key[1]]
            written = [self._branch(each, key[1]) for each in several]
            body = " | ".join(dict.fromkeys(text for text, _ in written))
            self._known[key] = self._rule(body), max(cost for _, cost in written)
        return self._known[key]

    def _rule(self, body: str) -> str:
        return self._rules.setdefault(body, f"r{len(self._rules)}")

    def _terminal(self, body: str) -> str:
        return self._terminals.setdefault(body, f"T{len(self._terminals)}")

    def _branch(self, branch: Branch, budget: int) -> tuple[str, int]:
        match branch:
            case Values(texts=texts):
                return self._values(texts), max(len(text.encode()) for text in texts)
            case Text():
                return self._terminal(terminal(branch, budget)), budget
            case Number(bounds=bounds):
                digits = number_texts(bounds) or Digits(regex=NOTHING, most_bytes=0)  # there are: its least is finite
                return self._terminal(f"/{digits.regex}/"), digits.most_bytes
            case Distinct():
                return self._distinct(branch, budget)
            case Items():
                return self._items(branch, budget)
            case Members():
                return self._members(branch, budget)

    def _values(self, texts: Sequence[str]) -> str:
        """Many become one terminal: every literal is one more thing the parser follows at once."""
        if len(texts) <= _MOST_LITERALS:
            return " | ".join(map(_literal, texts))
        return self._terminal(f"/{'|'.join(map(escaped, texts))}/")

    def _distinct(self, branch: Distinct, budget: int) -> tuple[str, int]:
        """Different values in one order: from each on, which may follow while some are still to come."""
        room, texts = budget - 2, branch.texts
        longest = max(len(text.encode()) for text in texts) + 1
        most = min(branch.most, max(branch.least, int((room + 1) // longest)))
        known: dict[tuple[int, int], str] = {}
        for at in range(len(texts), -1, -1):
            for count in range(most, -1, -1):
                choices = ['""'] if count >= branch.least else []
                if at < len(texts):
                    comma = '"," ' if count else ""
                    if count < most and known.get((at + 1, count + 1)):
                        choices.append(f"{comma}{_literal(texts[at])} {known[at + 1, count + 1]}")
                    if known.get((at + 1, count)):
                        choices.append(known[at + 1, count])
                if choices:
                    known[at, count] = self._rule(" | ".join(dict.fromkeys(choices)))
        return f'"[" {known[0, 0]} "]"', 2 + most * longest - (most > 0)

    def _items(self, items: Items, budget: int) -> tuple[str, int]:
        """How many: as many as have comfortable room, and all that are asked for."""
        count = self._count(items, budget)
        places = [*items.prefix[:count], *[items.rest] * (count - len(items.prefix[:count]))]
        room = budget - 2 - max(0, count - 1)
        fixed, repeated = places[: len(items.prefix)], places[len(items.prefix) :]
        each = [(self._sizes.least(place), self._sizes.most(place), self._sizes.weight(place)) for place in places]
        shares = share(room, each)
        written = [self._place(place, given) for place, given in zip(fixed, shares, strict=False)]
        rest = self._place(items.rest, min(shares[len(fixed) :])) if repeated else ("", 0)
        cost = 2 + sum(cost for _, cost in written) + rest[1] * len(repeated) + max(0, count - 1)
        names = [name for name, _ in written]
        return f'"[" {self._row(names, rest[0], items.least, count)} "]"', cost

    def _count(self, items: Items, budget: int) -> int:
        sizes, first = self._sizes, items.prefix
        most = MOST_ITEMS + items.least if items.most is None else items.most
        count, needed, comfortable = 0, 2.0, 2.0
        while count < most:
            place = first[count] if count < len(first) else items.rest
            needed += sizes.least(place) + (count > 0)
            comfortable += sizes.comfort(place) + (count > 0)
            if needed > budget or (comfortable > budget and count >= max(1, items.least)):
                break
            count += 1
        return count

    def _row(self, fixed: Sequence[str], rest: str, least: int, count: int) -> str:
        """Items with commas between; optional from `least` on."""
        more = count - len(fixed)
        tail = f'("," {rest}){{{max(0, least - len(fixed))},{more}}}' if more and fixed else ""
        if more and not fixed:
            row = f'{rest} ("," {rest}){{{max(0, least - 1)},{more - 1}}}' if more > 1 else rest
            return row if least else f"({row})?"
        for at in range(len(fixed) - 1, -1, -1):
            piece = f"{'' if at == 0 else chr(34) + ',' + chr(34) + ' '}{fixed[at]} {tail}".strip()
            tail = piece if at < least else f"({piece})?"
        return tail

    def _members(self, members: Members, budget: int) -> tuple[str, int]:
        chosen = self._chosen(members, budget)
        extras = self._extras(members, len(chosen), budget - self._needed(chosen))
        spare = budget - 2 - max(0, len(chosen) + len(extras) - 1) - sum(name_bytes(each.name) for each in chosen)
        needs = [self._need(each.value, each.name) for each in chosen]
        needs += [(self._sizes.least_extra(each), math.inf, 2 + self._sizes.weight(each.value)) for each in extras]
        shares = share(spare, needs)
        pieces, cost = [], 2 + max(0, len(chosen) + len(extras) - 1)
        for member, given in zip(chosen, shares, strict=False):
            value, size = self._place(member.value, given)
            pieces.append((f"{_literal(json_text(member.name) + ':')} {value}", member.required))
            cost += name_bytes(member.name) + size
        forced = max(0, members.least - sum(each.required for each in chosen))
        for number, (extra, given) in enumerate(zip(extras, shares[len(chosen) :], strict=True)):
            text, size = self._extra(extra, int(given), number if forced > 1 else None, forced)
            pieces.append((text, number < forced))
            cost += size
        return f'"{{" {self._sequence(pieces)} "}}"', cost

    def _need(self, place: Conj, name: str) -> tuple[float, float, float]:
        return self._sizes.least(place), self._sizes.most(place), self._sizes.weight(place, name)

    def _needed(self, chosen: Sequence[Member]) -> int:
        own = sum(name_bytes(each.name) + self._sizes.least(each.value) for each in chosen)
        return 2 + int(own) + max(0, len(chosen) - 1)

    def _chosen(self, members: Members, budget: int) -> list[Member]:
        """The required properties, those that must join them, and as many others as fit, in the schema's order."""
        cost = {each.name: name_bytes(each.name) + self._sizes.least(each.value) for each in members.named}
        required = {each.name for each in members.named if each.required}
        others = [each.name for each in members.named if each.name not in required and cost[each.name] < math.inf]
        forced = set(sorted(others, key=cost.__getitem__)[: max(0, members.least - len(required))]) | required
        most = len(members.named) if members.most is None else members.most
        taken, spent = set(forced), 1 + sum(cost[name] + 1 for name in forced)
        if members.least > len(forced):
            spent += min(map(self._sizes.least_extra, members.extras)) * (members.least - len(forced)) + 1
        for name in others:
            if name not in taken and len(taken) < most and spent + cost[name] + 1 <= budget:
                taken.add(name)
                spent += cost[name] + 1
        return [
            Member(name=each.name, value=each.value, required=each.name in forced)
            for each in members.named
            if each.name in taken
        ]

    def _extras(self, members: Members, taken: int, room: int) -> list[Extra]:
        """Further properties, one entry each. They are few: every one is a rule of its own."""
        lacking = max(0, members.least - taken)
        possible = [each for each in members.extras if self._sizes.least_extra(each) < math.inf]
        if not possible:
            return []
        cheapest = min(possible, key=self._sizes.least_extra)
        most = math.inf if members.most is None else members.most - taken
        found = [cheapest] * lacking
        room -= int(lacking * (self._sizes.least_extra(cheapest) + 1))
        while len(found) < min(most, MOST_ITEMS):
            extra = possible[len(found) % len(possible)]
            comfort = 24 + self._sizes.comfort(extra.value)
            room -= int(comfort if len(found) >= max(1, lacking) else self._sizes.least_extra(extra)) + 1
            if room < 0:
                break
            found.append(extra)
        return found

    def _extra(self, extra: Extra, budget: int, number: int | None, of: int) -> tuple[str, int]:
        name = first_letters(extra.name, number, of) if number is not None and number < of else extra.name
        smallest = int(least_bytes(name))
        spare = budget - 1 - int(self._sizes.least(extra.value))
        given = max(smallest, min(spare, _NAME_BYTES + QUOTES, smallest + (spare - smallest) // _NAME_SHARE))
        value, size = self._place(extra.value, budget - 1 - given)
        return f'{self._terminal(terminal(name, given))} ":" {value}', given + 1 + size

    def _sequence(self, pieces: Sequence[tuple[str, bool]]) -> str:
        """Pieces in order with commas between; each optional unless it must be there."""
        after = '""'  # what may follow once something stands
        first = '""'  # what may stand when nothing stands yet
        for text, must in reversed(pieces):
            own = self._rule(text)
            opening = f"{own} {after}"
            first = self._rule(opening if must else f"{opening} | {first}")
            after = self._rule(f'"," {own} {after}' if must else f'("," {own})? {after}')
        return first


def share(total: float, needs: Sequence[tuple[float, float, float]]) -> list[int]:
    """Bytes for each of (least, most, weight): its least, then the rest by weight, never beyond its most."""
    given = [least for least, _, _ in needs]
    left = total - sum(given)
    open_ = [number for number, (least, most, _) in enumerate(needs) if most > least]
    while open_ and left >= 1:
        unit = left / sum(needs[number][2] for number in open_)
        full = [number for number in open_ if needs[number][1] - given[number] <= unit * needs[number][2]]
        for number in full or open_:
            more = needs[number][1] - given[number] if full else math.floor(unit * needs[number][2])
            given[number] += more
            left -= more
        if not full:
            break
        open_ = [number for number in open_ if number not in full]
    return [int(each) for each in given]


def _literal(text: str) -> str:
    """Exactly this text, as a Lark string or, where Lark's lexer would stop at U+007F, as a regex."""
    return f"/{escaped(text)}/" if "\x7f" in text else json.dumps(text, ensure_ascii=False)
