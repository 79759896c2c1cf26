"""Whether several patterns can be matched by one string, found with Brzozowski's derivatives; it knows no schemas."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from workers.constrain.characters import LAST, in_json, ranges
from workers.constrain.pattern import Alt, Chars, Node, NotRegular, Repeat, Seq

_LOOK = 64  # characters beyond the least that are looked at
_MOST_STATES = 400  # at one length
_NOTHING, _EMPTY = Chars(()), Seq(())


@lru_cache(maxsize=512)
def shortest(nodes: tuple[Node, ...], least: int, most: int | None) -> int | None:
    """The length in characters of the shortest string of at least `least` that all match; None where none is found.
    Raises NotRegular where that takes too long."""
    signs = tuple(_alphabet(nodes))
    last = least + _LOOK if most is None else min(most, least + _LOOK)
    states = {nodes}
    for length in range(last + 1):
        if length >= least and any(all(map(_ends, state)) for state in states):
            return length
        after = {tuple(_after(node, sign) for node in state) for state in states for sign in signs}
        states = {state for state in after if _NOTHING not in state}
        if len(states) > _MOST_STATES:
            raise NotRegular("several patterns of one string are too complicated together; write them as one")
        if not states:
            return None
    return None


def _alphabet(nodes: tuple[Node, ...]) -> Iterator[int]:
    """One character for each kind that the patterns tell apart."""
    cuts = {0x20} | {cut for node in nodes for low, high in _ranges(node) for cut in (low, high + 1)}
    yield from (cut for cut in sorted(cuts) if cut <= LAST and in_json(ranges([(cut, cut)])))


def _ranges(node: Node) -> Iterator[tuple[int, int]]:
    match node:
        case Chars(these):
            yield from these
        case Seq(parts) | Alt(parts):
            for part in parts:
                yield from _ranges(part)
        case Repeat(part):
            yield from _ranges(part)


def _ends(node: Node) -> bool:
    """Whether the empty string matches."""
    match node:
        case Chars():
            return False
        case Seq(parts):
            return all(map(_ends, parts))
        case Alt(choices):
            return any(map(_ends, choices))
        case Repeat(part, least):
            return least == 0 or _ends(part)


@lru_cache(maxsize=20_000)
def _after(node: Node, sign: int) -> Node:
    """What must follow when `sign` was read."""
    match node:
        case Chars(these):
            return _EMPTY if any(low <= sign <= high for low, high in these) else _NOTHING
        case Alt(choices):
            return _either(_after(choice, sign) for choice in choices)
        case Repeat(part, least, most):
            if most == 0:
                return _NOTHING
            return _then(_after(part, sign), Repeat(part, max(0, least - 1), None if most is None else most - 1))
        case Seq(parts):
            if not parts:
                return _NOTHING
            rest = parts[1] if len(parts) == 2 else Seq(parts[1:])
            first = _then(_after(parts[0], sign), rest)
            return _either((first, _after(rest, sign))) if _ends(parts[0]) else first


def _then(first: Node, second: Node) -> Node:
    if _NOTHING in (first, second):
        return _NOTHING
    front = first.parts if isinstance(first, Seq) else (first,)
    back = second.parts if isinstance(second, Seq) else (second,)
    both = (*front, *back)
    return both[0] if len(both) == 1 else Seq(both)


def _either(several: Iterator[Node] | tuple[Node, ...]) -> Node:
    flat: dict[Node, None] = {}
    for one in several:
        for choice in one.choices if isinstance(one, Alt) else (one,):
            if choice != _NOTHING:
                flat[choice] = None
    return _NOTHING if not flat else next(iter(flat)) if len(flat) == 1 else Alt(tuple(flat))
