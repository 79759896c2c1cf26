"""How many bytes each place of a schema takes: at least, at most, comfortably, and its weight when bytes are shared.

All are sizes of the longest text that a grammar would allow, so they hold for any model; it writes no grammar."""

from __future__ import annotations

import math
from collections.abc import Iterator

from workers.constrain.numbers import number_texts
from workers.constrain.reading import Reading, json_text
from workers.constrain.shapes import Branch, Conj, Distinct, Extra, Items, Members, Number, Text, Values
from workers.constrain.strings import least_bytes, most_bytes
from workers.modality import Code, WorkerError

MOST_PLACES = 3000
"""Different places of one schema; more is refused."""
MOST_ITEMS = 64
"""Items of an array, and further properties of an object, where the schema does not ask for more."""
_BRIEF = frozenset(
    """author category city code color colour country currency date description_short email first_name full_name
    gender heading headline icon id identifier job key keyword kind label language last_name level location name
    occupation phone role slug status subject tag title tone topic type unit url username value""".split()
)
_LONG = frozenset(
    """answer article bio biography body content explanation html markdown message paragraph reasoning report
    story summary text transcript""".split()
)


class Sizes:
    """Sizes in bytes of every place that can be reached from the root of one reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._places = self._reachable()
        self._plain: dict[int, float] = {}
        self._least = self._smallest()
        self._most: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._comfort: dict[str, float] = {}

    def least(self, place: Conj) -> float:
        """What one value at this place needs; infinite where nothing fits."""
        return self._least[place.key]

    def possible(self, place: Conj) -> bool:
        """Whether anything fits this place."""
        return self.least(place) < math.inf

    def least_of(self, branch: Branch) -> float:
        """The same for one branch."""
        if isinstance(branch, Items):
            return self._least_items(branch)
        if isinstance(branch, Members):
            return self._least_members(branch)
        if id(branch) not in self._plain:  # the reading keeps its branches, so an id stays one branch's
            self._plain[id(branch)] = _least_plain(branch)
        return self._plain[id(branch)]

    def most(self, place: Conj) -> float:
        """What the longest value takes, as the schema itself bounds it; infinite where it does not."""
        if place.key not in self._most:
            self._most[place.key] = math.inf  # while it is looked at: what contains itself has no end
            self._most[place.key] = max(map(self.most_of, self._reading.branches(place)), default=0)
        return self._most[place.key]

    def most_of(self, branch: Branch) -> float:
        """The same for one branch."""
        match branch:
            case Text():
                return most_bytes(branch)
            case Items(prefix=prefix, rest=rest, most=most):
                count = math.inf if most is None else most
                first = sum(self.most(each) + 1 for each in prefix[: int(min(count, len(prefix)))])
                others = max(0, count - len(prefix))
                return 1 + first + (others * (self.most(rest) + 1) if others else 0) + 1
            case Members(named=named, extras=extras):
                own = sum(name_bytes(each.name) + self.most(each.value) + 1 for each in named)
                return math.inf if extras else 2 + own
            case Distinct(texts=texts):
                return 2 + sum(len(text.encode()) + 1 for text in texts)
        return self.least_of(branch)

    def weight(self, place: Conj, name: str = "") -> float:
        """How much of shared bytes a place should get, beside places with other weights."""
        key = f"{name} {place.key}"
        if key not in self._weights:
            self._weights[key] = 3.0
            self._weights[key] = max((self._weigh(each, name) for each in self._reading.branches(place)), default=1.0)
        return self._weights[key]

    def comfort(self, place: Conj) -> float:
        """The bytes with which one value, as an item among several, has room enough; at least `least`."""
        if place.key not in self._comfort:
            self._comfort[place.key] = 24.0
            several = self._reading.branches(place)
            wanted = max((self._comfortable(each) for each in several if self.least_of(each) < math.inf), default=0)
            self._comfort[place.key] = max(min(wanted, self.most(place)), self.least(place))
        return self._comfort[place.key]

    def _weigh(self, branch: Branch, name: str) -> float:
        match branch:
            case Text():
                return 1.0 if _is(name, _BRIEF) else 12.0 if _is(name, _LONG) else 6.0
            case Items(prefix=prefix, rest=rest):
                return min(60.0, sum(map(self.weight, prefix)) + 3 * self.weight(rest, name.removesuffix("s")))
            case Members(named=named, extras=extras):
                own = sum(self.weight(each.value, each.name) for each in named)
                return min(60.0, own + 3 * sum(self.weight(each.value) for each in extras) + 1)
        return 1.0

    def _comfortable(self, branch: Branch) -> float:
        match branch:
            case Text():
                return 120
            case Items(prefix=prefix, rest=rest):
                several = [*prefix, rest, rest, rest]
                return 2 + sum(self.comfort(each) + 1 for each in several if self.possible(each))
            case Members(named=named, extras=extras):
                there = [each for each in named if self.possible(each.value)]
                own = sum(name_bytes(each.name) + self.comfort(each.value) + 1 for each in there)
                more = [self.comfort(each.value) for each in extras if self.possible(each.value)]
                return 2 + own + sum(3 * (24 + each) for each in more)
        return self.most_of(branch)

    def _reachable(self) -> dict[str, Conj]:
        found = {self._reading.root.key: self._reading.root}
        waiting = [self._reading.root]
        while waiting:
            for branch in self._reading.branches(waiting.pop()):
                for child in children(branch):
                    if child.key not in found:
                        found[child.key] = child
                        waiting.append(child)
            if len(found) > MOST_PLACES:
                raise WorkerError(
                    Code.INVALID_INPUT, f"the schema has more than {MOST_PLACES} different places; write a smaller one"
                )
        return found

    def _smallest(self) -> dict[str, float]:
        """From infinite down until nothing changes, so that what can only contain itself stays infinite."""
        self._least = dict.fromkeys(self._places, math.inf)
        changed = True
        while changed:
            changed = False
            for key, place in reversed(self._places.items()):
                found = min(map(self.least_of, self._reading.branches(place)), default=math.inf)
                if found < self._least[key]:
                    self._least[key], changed = found, True
        return self._least

    def _least_items(self, items: Items) -> float:
        if items.most is not None and items.most < items.least:
            return math.inf
        first = [self.least(each) for each in items.prefix[: items.least]]
        others = items.least - len(first)
        return 2 + sum(first) + (others * self.least(items.rest) if others else 0) + max(0, items.least - 1)

    def _least_members(self, members: Members) -> float:
        needed = [each for each in members.named if each.required]
        spare = sorted(name_bytes(each.name) + self.least(each.value) for each in members.named if not each.required)
        missing = max(0, members.least - len(needed))
        if members.most is not None and members.most < max(members.least, len(needed)):
            return math.inf
        costs = [name_bytes(each.name) + self.least(each.value) for each in needed] + spare[:missing]
        lacking = missing - len(spare[:missing])
        if lacking:
            costs += [min((self.least_extra(each) for each in members.extras), default=math.inf)] * lacking
        return 2 + sum(costs) + max(0, len(costs) - 1)

    def least_extra(self, extra: Extra) -> float:
        """Name, colon and value of a further property."""
        return least_bytes(extra.name) + 1 + self.least(extra.value)


def _least_plain(branch: Values | Text | Number | Distinct) -> float:
    match branch:
        case Values(texts=texts):
            return max(len(text.encode()) for text in texts)
        case Text():
            return least_bytes(branch)
        case Number(bounds=bounds):
            digits = number_texts(bounds)
            return math.inf if digits is None else digits.most_bytes
        case Distinct(texts=texts, least=least):
            longest = sorted((len(text.encode()) for text in texts), reverse=True)
            return 2 + sum(longest[: max(1, least)]) + max(0, least - 1)


def children(branch: Branch) -> Iterator[Conj]:
    """The places directly inside a branch."""
    match branch:
        case Items(prefix=prefix, rest=rest):
            yield from (*prefix, rest)
        case Members(named=named, extras=extras):
            yield from (each.value for each in named)
            yield from (each.value for each in extras)


def name_bytes(name: str) -> int:
    """A property's name in JSON, with its colon."""
    return len(json_text(name).encode()) + 1


def _is(name: str, words: frozenset[str]) -> bool:
    return name.lower() in words or name.lower().rpartition("_")[2] in words
