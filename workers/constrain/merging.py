"""Several schemas that hold at once → what they allow together, type by type. It follows no reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from workers.constrain.formats import FORMATS
from workers.constrain.numbers import Bounds
from workers.constrain.pattern import Node, NotRegular, lengths, read_pattern
from workers.constrain.shapes import Conj, Extra, Items, Member, Members, Text
from workers.modality import Code, WorkerError

MOST_CONTAINED = 64
MOST_LENGTH = 4096
"""Lengths of strings that have a pattern are looked at up to here, in characters."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A schema without references and combinations, and where it stands."""

    path: str
    schema: Mapping[str, Any]


def text_of(parts: tuple[Part, ...]) -> Text:
    """The string that all parts allow. A format counts where no pattern stands beside it and the lengths allow it."""
    least = max((int(part.schema.get("minLength", 0)) for part in parts), default=0)
    most = _smallest(parts, "maxLength")
    patterns = tuple(pattern_at(part.schema["pattern"], part.path) for part in parts if "pattern" in part.schema)
    formats = (str(part.schema.get("format", "")) for part in parts)
    known = next((FORMATS[name] for name in formats if name in FORMATS), None)
    if known and not patterns:
        node = read_pattern(known)
        if fitting_lengths((node,), least, most):
            patterns = (node,)
    return Text(least=least, most=most, patterns=tuple(dict.fromkeys(patterns)))


def pattern_at(pattern: str, path: str) -> Node:
    """A pattern of a schema. Raises WorkerError `invalid_input`."""
    try:
        return read_pattern(pattern)
    except NotRegular as error:
        raise WorkerError(
            Code.INVALID_INPUT, f"the schema at {path} uses a pattern that structured output cannot follow: {error}"
        ) from error


@lru_cache(maxsize=1024)
def fitting_lengths(patterns: tuple[Node, ...], least: int, most: int | None) -> int:
    """Bit n: strings of n characters may match every pattern. Lengths below `least` and above `most` are left out."""
    limit = min(MOST_LENGTH, least + 512 if most is None else most)
    fitting = (1 << (limit + 1)) - 1
    for node in patterns:
        fitting &= lengths(node, limit)
    return (fitting >> least) << least


def number_of(parts: tuple[Part, ...], *, whole: bool) -> Bounds:
    """The range that all parts allow."""
    lows = [(_exact(value), excluded) for value, excluded in _ends(parts, "minimum", "exclusiveMinimum")]
    highs = [(_exact(value), excluded) for value, excluded in _ends(parts, "maximum", "exclusiveMaximum")]
    low, above = max(lows, default=(None, False))
    high, below = min(highs, key=lambda end: (end[0], not end[1]), default=(None, False))
    multiples = tuple(part.schema["multipleOf"] for part in parts if "multipleOf" in part.schema)
    return Bounds(low=low, high=high, above=above, below=below, whole=whole, multiples=multiples)


def _ends(parts: tuple[Part, ...], plain: str, exclusive: str) -> list[tuple[int | float, bool]]:
    words = [(part, word) for part in parts for word in (plain, exclusive)]
    return [(part.schema[word], word == exclusive) for part, word in words if word in part.schema]


def _exact(value: int | float) -> Fraction:
    """As it was written, which rounds to itself; beyond 2^53, where integers are compared exactly, as it is kept."""
    return Fraction(repr(value)) if isinstance(value, float) and abs(value) < 2**53 else Fraction(value)


def positions_of(parts: tuple[Part, ...], path: str) -> tuple[Items, bool]:
    """The array that all parts allow, and whether its items must differ. `contains` is met by the first items."""
    least = max((int(part.schema.get("minItems", 0)) for part in parts), default=0)
    most = _smallest(parts, "maxItems")
    wanted = _contained(parts)
    count = max([len(part.schema.get("prefixItems", ())) for part in parts] + [len(wanted)], default=0)
    prefix = tuple(_at(parts, number, wanted, path) for number in range(count))
    if any(part.schema.get("unevaluatedItems") is False and "items" not in part.schema for part in parts):
        most = min(count, count if most is None else most)
    unique = any(part.schema.get("uniqueItems") for part in parts)
    return Items(prefix=prefix, rest=_at(parts, count, [], path), least=max(least, len(wanted)), most=most), unique


def _contained(parts: tuple[Part, ...]) -> list[Any]:
    wanted = []
    for part in parts:
        if "contains" in part.schema:
            if "maxContains" in part.schema or part.schema.get("minContains", 1) > MOST_CONTAINED:
                raise WorkerError(
                    Code.INVALID_INPUT,
                    f"the schema at {part.path} uses maxContains, or minContains above {MOST_CONTAINED}, which "
                    "structured output cannot follow; leave it out",
                )
            wanted += [part.schema["contains"]] * int(part.schema.get("minContains", 1))
    return wanted


def _at(parts: tuple[Part, ...], number: int, wanted: list[Any], path: str) -> Conj:
    """What must hold at one position. Past the prefixes that is the same everywhere."""
    schemas = wanted[number : number + 1]
    for part in parts:
        prefix = part.schema.get("prefixItems", ())
        if number < len(prefix):
            schemas.append(prefix[number])
        elif "items" in part.schema:
            schemas.append(part.schema["items"])
    return Conj(schemas=tuple(schemas), path=f"{path}/items")


def members_of(parts: tuple[Part, ...], path: str, naming: Text | None, listed: tuple[str, ...]) -> Members | None:
    """The object that all parts allow; None where required properties are forbidden. `naming`: what names of
    further properties may look like (None: there are none), `listed`: further names that are known."""
    required = _required(parts)
    declared = dict.fromkeys(name for part in parts for name in part.schema.get("properties", ()))
    names = tuple(dict.fromkeys((*declared, *sorted(required), *listed)))
    named = [Member(name=name, value=_value(parts, name, path), required=name in required) for name in names]
    if any(False in member.value.schemas for member in named if member.required):
        return None
    kept = tuple(member for member in named if False not in member.value.schemas)
    least = max((int(part.schema.get("minProperties", 0)) for part in parts), default=0)
    extras = _extras(parts, path, naming, names, more=least > len(kept)) if naming else ()
    return Members(named=kept, extras=extras, least=least, most=_smallest(parts, "maxProperties"))


def _required(parts: tuple[Part, ...]) -> set[str]:
    """What must be there; what would be needed beside a property that may be there is simply needed too."""
    names = {name for part in parts for name in part.schema.get("required", ())}
    for part in parts:
        for needed in part.schema.get("dependentRequired", {}).values():
            names.update(needed)
    return names


def _value(parts: tuple[Part, ...], name: str, path: str) -> Conj:
    """What must hold for the property `name`, by every part."""
    schemas = []
    for part in parts:
        found = [part.schema["properties"][name]] if name in part.schema.get("properties", {}) else []
        found += [each for pattern, each in _patterned(part) if re.search(pattern, name)]
        schemas += found or ([part.schema["additionalProperties"]] if "additionalProperties" in part.schema else [])
    if not schemas and not _declares(parts, name) and _is_closed(parts):
        schemas = [False]
    return Conj(schemas=tuple(schemas), path=f"{path}/properties/{name}")


def _declares(parts: tuple[Part, ...], name: str) -> bool:
    return any(name in part.schema.get("properties", {}) for part in parts)


def _is_closed(parts: tuple[Part, ...]) -> bool:
    """Whether only what a keyword speaks of may be there."""
    return any(part.schema.get("unevaluatedProperties") is False for part in parts)


def _patterned(part: Part) -> list[tuple[str, Any]]:
    return list(part.schema.get("patternProperties", {}).items())


def _extras(
    parts: tuple[Part, ...], path: str, naming: Text, names: tuple[str, ...], *, more: bool
) -> tuple[Extra, ...]:
    """Kinds of further properties: one per pattern, and one for all names. A name may match other patterns than its
    own, so every value fits what is asked of all of them; where that is nothing, the kind is not offered."""
    patterns = tuple(dict.fromkeys(pattern for part in parts for pattern, _ in _patterned(part)))
    asked = tuple(each for part in parts for _, each in _patterned(part))
    rest = tuple(part.schema["additionalProperties"] for part in parts if "additionalProperties" in part.schema)
    found = []
    for pattern in patterns:
        beside = tuple(
            part.schema["additionalProperties"]
            for part in parts
            if "additionalProperties" in part.schema and pattern not in dict(_patterned(part))
        )
        node = pattern_at(pattern, path)
        name = Text(least=naming.least, most=naming.most, patterns=(*naming.patterns, node), names=names)
        found.append(Extra(name=name, value=Conj(schemas=(*asked, *beside), path=f"{path}/patternProperties")))
    if _is_open(parts, names, more=more):
        name = Text(least=naming.least, most=naming.most, patterns=naming.patterns, names=names)
        found.append(Extra(name=name, value=Conj(schemas=(*asked, *rest), path=f"{path}/additionalProperties")))
    return tuple(each for each in found if False not in each.value.schemas)


def _is_open(parts: tuple[Part, ...], names: tuple[str, ...], *, more: bool) -> bool:
    """Whether names that nobody declared are offered: where a schema for them is given, where nothing is declared,
    or where there must be more properties than are declared."""
    given = [part.schema["additionalProperties"] for part in parts if "additionalProperties" in part.schema]
    spoken_of = any(isinstance(each, Mapping) for each in given)
    return spoken_of or (not _is_closed(parts) and (not names or more))


def _smallest(parts: tuple[Part, ...], keyword: str) -> int | None:
    return min((int(part.schema[keyword]) for part in parts if keyword in part.schema), default=None)
