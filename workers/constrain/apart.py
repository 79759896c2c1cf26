"""Whether two branches of a `oneOf` can never be fit by one value; where that cannot be shown, the answer is no."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from workers.constrain.merging import Part
from workers.constrain.shapes import Branch, Conj, Distinct, Items, Members, Number, Text, Values

_DEEP = 4  # properties inside properties that are looked at
_NAMES = {Text: {"string"}, Number: {"number", "integer"}, Items: {"array"}, Distinct: {"array"}, Members: {"object"}}


class Places(Protocol):
    """What is asked of the reading of a schema."""

    def branches(self, place: Conj) -> tuple[Branch, ...]: ...

    def typed(self, parts: tuple[Part, ...], path: str) -> Iterator[Branch]: ...

    def expand(self, schema: Any, path: str) -> list[tuple[Part, ...]]: ...

    def fits(self, schema: Any, value: Any) -> bool: ...


def never_fits(reading: Places, whole: tuple[Part, ...], rival: Any, path: str) -> bool:
    """Whether nothing that is written for the merged parts `whole` fits the schema `rival`."""
    return all(_misses(reading, branch, rival, whole, 0) for branch in reading.typed(whole, path))


def _misses(reading: Places, branch: Branch, rival: Any, whole: tuple[Part, ...], depth: int) -> bool:
    if isinstance(branch, Values):
        # values of the outermost place are checked against the whole oneOf later, one by one
        return depth == 0 or not any(reading.fits(rival, json.loads(text)) for text in branch.texts)
    if isinstance(rival, bool) or depth > _DEEP:
        return rival is False
    others = reading.expand(rival, "#")
    return all(any(_part_misses(reading, branch, part, whole, depth) for part in parts) for parts in others)


def _part_misses(reading: Places, branch: Branch, part: Part, whole: tuple[Part, ...], depth: int) -> bool:
    schema = part.schema
    if "enum" in schema:
        return not any(all(reading.fits(each.schema, value) for each in whole) for value in schema["enum"])
    if "type" in schema:
        named = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
        if not named & _NAMES[type(branch)]:
            return True
    match branch:
        case Text(least=least, most=most):
            return _outside(least, most, schema.get("minLength"), schema.get("maxLength"))
        case Items(least=least, most=most):
            return _outside(least, most, schema.get("minItems"), schema.get("maxItems"))
        case Number(bounds=bounds):
            return _outside(bounds.low, bounds.high, schema.get("minimum"), schema.get("maximum"))
        case Members():
            return _object_misses(reading, branch, part, depth)
    return False


def _outside(least: Any, most: Any, rival_least: Any, rival_most: Any) -> bool:
    below = most is not None and rival_least is not None and most < rival_least
    return below or (least is not None and rival_most is not None and least > rival_most)


def _object_misses(reading: Places, branch: Members, part: Part, depth: int) -> bool:
    names = {member.name for member in branch.named}
    if not branch.extras and any(name not in names for name in part.schema.get("required", ())):
        return True
    declared = part.schema.get("properties", {})
    for member in branch.named:
        rival = declared.get(member.name)
        if rival is None and not part.schema.get("patternProperties"):
            rival = part.schema.get("additionalProperties")
        if member.required and rival is not None and _value_misses(reading, member.value, rival, depth):
            return True
    return False


def _value_misses(reading: Places, value: Conj, rival: Any, depth: int) -> bool:
    whole = tuple(Part(path=value.path, schema=schema) for schema in value.schemas if isinstance(schema, dict))
    return all(_misses(reading, branch, rival, whole, depth + 1) for branch in reading.branches(value))
